//! The image-set readers against files that the tests write, and the embedded sample.

mod data {
    mod cifar;
    mod files;
    mod folder;
    mod identity;
    mod idx;
    mod image;
    mod jpeg;
    mod parts;
    mod prefetch;
    mod reuse;
    mod sample;
}

//! The image-set readers against files that the tests write, and the embedded sample.

mod mutate;

mod data {
    mod cifar;
    mod files;
    mod folder;
    mod identity;
    mod idx;
    mod image;
    mod jpeg;
    mod left_out;
    mod limits;
    mod near;
    mod parts;
    mod prefetch;
    mod reuse;
    mod sample;
    mod tails;
}

#[global_allocator]
static MEMORY: mutate::Counting = mutate::Counting;

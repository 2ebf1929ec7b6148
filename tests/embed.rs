//! What an application that embeds the library relies on.

mod common;
mod properties;

mod embed {
    mod class_prior;
    mod picture;
    mod pruning;
    mod session;
    mod shared;
    mod stop;
    mod subject;
    mod task;
    mod weights;
}

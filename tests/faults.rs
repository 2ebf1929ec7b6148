//! What breaks under the program: the device, its driver, its caches, numbers that go wrong.

mod common;
mod properties;

mod faults {
    mod cache;
    mod device;
    mod driver;
    mod numbers;
    mod ranges;
    mod subject;
}

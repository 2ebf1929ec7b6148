//! What is written for other programs, read as these read it.

mod bundle;
mod interpreter;
mod merged;
mod onnx;
mod subject;

#[path = "../reference/mod.rs"]
mod reference;
#[path = "../small/mod.rs"]
mod small;

//! The program as users and scripts meet it.

mod backbones;
mod balance;
mod bench;
mod calibrate;
mod commands;
mod data;
mod ensemble;
mod explain;
mod export;
mod folders;
mod handed_out;
mod headless;
mod import;
mod int8;
mod laplace;
mod lr_range;
mod program;
mod prune;
mod report;
mod reproduce;
mod runs;
mod stream;
mod tensorboard;
mod train;
mod transformers;
mod tune;
mod words;

#[path = "../sealed/mod.rs"]
mod sealed;
#[path = "../torch_save/mod.rs"]
mod torch_save;

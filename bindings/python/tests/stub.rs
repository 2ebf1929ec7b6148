//! The stub lists the options that there are. (That also has `cargo test` build the module, for `pack.sh`.)

use std::collections::BTreeSet;

use bayeslora::TrainConfig;

#[test]
fn the_stub_has_every_option_of_training() {
    let refused = toml::from_str::<TrainConfig>("no-such = 1").unwrap_err();
    let message = refused.message().replace('-', "_");
    let taken: BTreeSet<_> = message.split('`').skip(3).step_by(2).collect();
    let stub = include_str!("../python/bayeslora/__init__.pyi");
    let (_, options) = stub.split_once("class _Options(").unwrap();
    let (options, _) = options
        .split_once("\n\n\n")
        .or(options.split_once("\ndef "))
        .unwrap();
    let listed = options
        .lines()
        .filter_map(|line| line.trim_start().split_once(": "));
    assert_eq!(listed.map(|(name, _)| name).collect::<BTreeSet<_>>(), taken);
}

//! What a package of the program installs beside it.

use std::fs;

use predicates::str::contains;

use super::program::bayeslora;

#[test]
fn completions_know_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        bayeslora(&format!("completions {shell}"))
            .assert()
            .success()
            .stdout(contains("kl-multiplicity"));
    }
    bayeslora("completions csh").assert().code(2);
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let page = bayeslora("man").assert().success();
    page.stdout(contains("bayeslora\\-train(1)"));

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("man");
    bayeslora("man --out").arg(&out).assert().success();
    let help = bayeslora("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let (_, commands) = help.split_once("Commands:").unwrap();
    let commands = commands
        .lines()
        .skip(1)
        .map_while(|line| line.split_whitespace().next());
    let commands: Vec<_> = commands.collect();
    assert!(commands.contains(&"train"), "{help}");
    for command in commands.iter().filter(|command| **command != "help") {
        let page = out.join(format!("bayeslora-{command}.1"));
        assert!(page.exists(), "{}", page.display());
    }
    let page = fs::read_to_string(out.join("bayeslora-prune.1")).unwrap();
    assert!(page.contains("max\\-nll\\-increase"));

    let file = out.join("bayeslora.1");
    bayeslora("man --out")
        .arg(&file)
        .assert()
        .code(1)
        .stderr(contains("--out: cannot write pages into"));
}

//! The library's ranges in the commands: read by them, and told by `--help`.

use std::any::TypeId;

use bayeslora::low_level::ranges::{Range, of_command};
use clap::{Arg, Command};

/// The command line with every number's range stated and checked.
pub fn stated(command: Command) -> Command {
    command.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        command.mut_args(|arg| {
            let range = arg.get_long().and_then(|option| of_command(&name, option));
            match range {
                Some(range) => within(arg, range),
                None => arg,
            }
        })
    })
}

/// Options of types that are not numbers themselves have parsers that know the range.
fn within(arg: Arg, range: Range) -> Arg {
    let read = arg.get_value_parser().type_id();
    let arg = if read == TypeId::of::<usize>() {
        arg.value_parser(move |text: &str| range.whole::<usize>(text))
    } else if read == TypeId::of::<u64>() {
        arg.value_parser(move |text: &str| range.whole::<u64>(text))
    } else if read == TypeId::of::<u32>() {
        arg.value_parser(move |text: &str| range.whole::<u32>(text))
    } else if read == TypeId::of::<f64>() {
        arg.value_parser(move |text: &str| range.real(text))
    } else {
        arg
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    // So that a wrong number is reported as such, not as an unknown option.
    arg.help(format!("{help} [{range}]").trim_start().to_owned())
        .allow_negative_numbers(true)
}

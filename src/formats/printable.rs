//! Names from files, made safe for a terminal.

use std::fmt::{Display, Write};

/// `text` with control characters, and those that turn the direction of writing, as escapes: a name
/// must not move the cursor, colour the terminal or read as another one.
pub fn printable(text: impl Display) -> String {
    let mut shown = String::new();
    for char in text.to_string().chars() {
        match char.is_control() || is_direction(char) {
            // Writing to a string does not fail.
            true => _ = write!(shown, "{}", char.escape_default()),
            false => shown.push(char),
        }
    }
    shown
}

fn is_direction(char: char) -> bool {
    matches!(
        char,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escape_codes_are_seen_and_letters_are_kept() {
        assert_eq!(printable("caf\u{e9} \u{732b}"), "caf\u{e9} \u{732b}");
        assert_eq!(
            printable("\u{1b}[31mred\n\u{9b}2J"),
            "\\u{1b}[31mred\\n\\u{9b}2J"
        );
        assert_eq!(printable("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
    }
}

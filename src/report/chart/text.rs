//! Text in SVG: escaped, and its width without a font at hand.

/// For text and attributes of XML and HTML; what XML cannot hold is left out.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            control if control < ' ' && !matches!(control, '\n' | '\t') => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// About how wide a line is; errs on the wide side.
pub fn width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|character| match character {
            'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | ' ' => 0.3,
            'f' | 't' | 'r' | 'I' | '(' | ')' | '-' | '/' => 0.42,
            'm' | 'w' | 'M' | 'W' | '%' | '±' => 0.93,
            'A'..='Z' | '−' | '+' => 0.73,
            _ => 0.64,
        })
        .sum();
    ems * size
}

/// In one line or two; the second is cut where there is too much.
pub fn lines(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut first = String::new();
    let mut rest = text;
    while let Some(word) = rest.split_inclusive(' ').next() {
        if width(first.trim_end(), size) > 0.0
            && width(&format!("{first}{}", word.trim_end()), size) > room
        {
            break;
        }
        first.push_str(word);
        rest = &rest[word.len()..];
    }
    match rest {
        "" => vec![fitted(text, size, room)],
        _ => vec![
            fitted(first.trim_end(), size, room),
            fitted(rest, size, room),
        ],
    }
}

/// The text, or as much of it as there is room for and an ellipsis.
pub fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if width(&kept, size) + size > room {
            kept.pop();
            break;
        }
    }
    format!("{}…", kept.trim_end())
}

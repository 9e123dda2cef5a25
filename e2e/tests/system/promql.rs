//! The names in a PromQL expression. Whether it is one says Prometheus itself; this only finds what it speaks of. A word
//! that is not understood counts as a metric's name, so that a gap here fails a test rather than passing one.

/// What an expression speaks of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Each selector: a metric's name, and its matchers as label and value.
    pub(crate) selectors: Vec<(String, Vec<(String, String)>)>,
    /// Labels after `by`, `on` and their like.
    pub(crate) grouped: Vec<String>,
}

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 8] = ["and", "or", "unless", "offset", "bool", "atan2", "inf", "nan"];

/// The names in `expr`.
pub(crate) fn names(expr: &str) -> Names {
    let mut found = Names::default();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = &rest[1 + string(rest)..];
        } else if first == '[' {
            // A range: its unit is no name.
            rest = rest.split_once(']').map_or("", |(_, behind)| behind);
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if is_name(first) {
            let word = rest.split(|c| !is_name(c)).next().unwrap_or_default();
            rest = rest[word.len()..].trim_start();
            if GROUPING.contains(&word) {
                let labels = rest.trim_start_matches('(').split(')').next().unwrap_or_default();
                found.grouped.extend(labels.split(',').map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned));
                rest = rest.split_once(')').map_or("", |(_, behind)| behind);
            } else if let Some(matchers) = rest.strip_prefix('{') {
                let (matchers, length) = self::matchers(matchers);
                found.selectors.push((word.to_owned(), matchers));
                rest = &rest[1 + length..];
            } else if !rest.starts_with('(')
                && !GROUPING.iter().any(|grouping| rest.split(|c| !is_name(c)).next() == Some(grouping))
                && !WORDS.contains(&word)
            {
                found.selectors.push((word.to_owned(), Vec::new()));
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The length of the string at the start of `text`, without its first quote and with its last.
fn string(text: &str) -> usize {
    text[1..].find('"').map_or(text.len() - 1, |end| end + 1)
}

/// What stands between braces, and how long that is with the closing one.
fn matchers(text: &str) -> (Vec<(String, String)>, usize) {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() && !text[at..].starts_with('}') {
        let label = text[at..].split(|c| !is_name(c)).next().unwrap_or_default();
        let Some(quote) = text[at..].find('"') else { break };
        let length = string(&text[at + quote..]);
        let value = &text[at + quote + 1..at + quote + length];
        found.push((label.to_owned(), value.to_owned()));
        at += quote + 1 + length;
        at += text[at..].len() - text[at..].trim_start_matches([',', ' ']).len();
    }
    (found, (at + 1).min(text.len()))
}

#[test]
fn the_names_of_an_expression_are_found() {
    let expr =
        r#"sum by (a, b) (rate(m_total{x=~"u|v", y!="w"}[5m])) / on (a) group_left () max(n) unless up == 1.5e3"#;
    let matchers = [("x", "u|v"), ("y", "w")].map(|(label, value)| (label.to_owned(), value.to_owned()));
    let selectors = vec![("m_total".into(), matchers.into()), ("n".into(), vec![]), ("up".into(), vec![])];
    assert_eq!(names(expr), Names { selectors, grouped: vec!["a".into(), "b".into(), "a".into()] });
    let quantile = r#"histogram_quantile(0.99, sum by (le) (rate(h_bucket[5m]))) or vector(0) * 2"#;
    let found = names(quantile);
    assert_eq!((found.selectors, found.grouped), (vec![("h_bucket".to_owned(), vec![])], vec!["le".to_owned()]));
}

//! A page taken apart into what its reader does.

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write a file.
    File { path: String, text: String },
    /// Type a command.
    Command(Typed),
}

/// A command as the page shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// Where it stands in the page.
    pub(crate) line: usize,
    pub(crate) command: String,
    /// What it prints.
    pub(crate) shown: Vec<String>,
    pub(crate) fails: bool,
}

/// The steps of a page, in order.
pub(crate) fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let inside: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        match info.split_once(' ').unwrap_or((info, "")) {
            ("console", "unfollowed") => {}
            ("console", fails) => steps.extend(commands(&inside, number + 2, fails == "fails")),
            (_, path) if !path.is_empty() => {
                steps.push(Step::File { path: path.to_owned(), text: inside.join("\n") + "\n" });
            }
            _ => {}
        }
    }
    steps
}

fn commands(inside: &[&str], first: usize, fails: bool) -> Vec<Step> {
    let mut typed: Vec<Typed> = Vec::new();
    for (line, text) in (first..).zip(inside) {
        match (text.strip_prefix("$ "), typed.last_mut()) {
            (Some(command), _) => typed.push(Typed { line, command: command.to_owned(), shown: Vec::new(), fails }),
            (None, Some(last)) if last.shown.is_empty() && last.command.ends_with('\\') => {
                last.command = format!("{}\n{text}", last.command);
            }
            (None, Some(last)) => last.shown.push((*text).to_owned()),
            (None, None) => panic!("line {line}: a console block begins with `$ `, not with {text:?}"),
        }
    }
    for typed in &mut typed {
        // An empty line between two commands is for the eye.
        while typed.shown.last().is_some_and(String::is_empty) {
            typed.shown.pop();
        }
    }
    typed.into_iter().map(Step::Command).collect()
}

#[test]
fn a_page_is_files_and_commands_in_order() {
    let page = "Text.\n```json a/b.json\n{}\n```\n```\nnot a step\n```\n```console\n$ one \\\n  more\nsaid\n\nsaid too\n\n$ two\n```\n\
                ```console fails\n$ three\n```\n```console unfollowed\n$ four\n```\n";
    let typed = |line, command: &str, shown: &[&str], fails| {
        let shown = shown.iter().map(|&line| line.to_owned()).collect();
        Step::Command(Typed { line, command: command.to_owned(), shown, fails })
    };
    let expected = [
        Step::File { path: "a/b.json".to_owned(), text: "{}\n".to_owned() },
        typed(9, "one \\\n  more", &["said", "", "said too"], false),
        typed(15, "two", &[], false),
        typed(18, "three", &[], true),
    ];
    assert_eq!(steps(page), expected);
}

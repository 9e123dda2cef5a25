//! The reader of a page: a folder that looks like a fresh clone, and a shell in it.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::system::binary;
use stack::{Tools, port, shared, workspace};

use crate::compare::Known;
use crate::page::{Step, Typed, steps};

/// How long what only reads is typed again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The ports that pages name, and the settings that move them.
const PORTS: [(&str, u16); 8] = [
    ("INGEST_PORT", 8080),
    ("INGEST_ADMIN_PORT", 9101),
    ("PERSISTER_ADMIN_PORT", 9102),
    ("PROMETHEUS_PORT", 9090),
    ("KAFKA_PORT", 19_092),
    ("KAFKA_CONTROLLER_PORT", 19_093),
    ("REDIS_PORT", 16_379),
    ("DB_PORT", 13_306),
];

/// Follows one page; what it started is stopped when it is dropped.
pub(crate) struct Reader {
    folder: PathBuf,
    tools: PathBuf,
    ports: Vec<u16>,
    known: Known,
}

impl Reader {
    /// Makes the folder.
    pub(crate) fn new() -> Result<Self> {
        let folder = shared::scratch("reader");
        let root = workspace();
        stack::folder::copy(&root.join("schemas"), &folder.join("schemas"))?;
        for part in ["Makefile", "crates", "deploy", "grafana", "docs"] {
            symlink(root.join(part), folder.join(part))?;
        }
        std::fs::create_dir_all(folder.join("target"))?;
        let built = binary("stack");
        symlink(built.parent().context("the folder of our programs")?, folder.join("target/ci"))?;
        std::fs::create_dir_all(folder.join(".stack"))?;
        let kafka = Tools::find().kafka()?.folder;
        let tools = kafka.parent().context("the folder of the tools")?.to_owned();
        symlink(&tools, folder.join(".stack/tools"))?;
        let ports = PORTS.iter().map(|_| port::free()).collect::<Result<_>>()?;
        Ok(Self { folder, tools, ports, known: Known::default() })
    }

    /// Does all that a page says, and compares.
    ///
    /// # Errors
    /// Names the page's line, what it shows and what was printed.
    pub(crate) fn follow(&mut self, page: &str) -> Result<()> {
        let steps = steps(&std::fs::read_to_string(workspace().join(page))?);
        ensure!(!steps.is_empty(), "{page} has no command to follow");
        for step in steps {
            match step {
                Step::File { path, text } => {
                    self.known.types(&text);
                    let file = self.folder.join(path);
                    std::fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
                    std::fs::write(file, text)?;
                }
                Step::Command(typed) => {
                    self.known.types(&typed.command);
                    self.follow_command(&typed).with_context(|| format!("{page}, line {}", typed.line))?;
                }
            }
        }
        Ok(())
    }

    fn follow_command(&mut self, typed: &Typed) -> Result<()> {
        let until = Instant::now() + if only_reads(&typed.command) { PATIENCE } else { Duration::ZERO };
        loop {
            let output = self.shell(&typed.command).output()?;
            let printed = self.as_usual(&String::from_utf8_lossy(&output.stdout));
            if output.status.success() != typed.fails && self.known.fits(&typed.shown, &printed) {
                return Ok(());
            }
            if Instant::now() >= until {
                let (Typed { command, .. }, shown) = (typed, typed.shown.join("\n"));
                bail!("$ {command}\n--- shown\n{shown}\n--- printed ({})\n{printed}", output.status);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn shell(&self, command: &str) -> Command {
        let usual = PORTS.iter().zip(&self.ports);
        let command = usual.clone().fold(command.to_owned(), |text, ((_, usual), here)| {
            text.replace(&format!(":{usual}"), &format!(":{here}"))
        });
        let mut shell = Command::new("bash");
        // In one stream, as a terminal shows it.
        shell.args(["-c", &format!("exec 2>&1\n{command}")]).current_dir(&self.folder);
        shell.envs(usual.map(|((setting, _), port)| (*setting, port.to_string())));
        // Whoever runs this test has settings of their own.
        for name in ["CARGO_TARGET_DIR", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ENTITY"] {
            shell.env_remove(name);
        }
        // Containers would have the usual ports.
        shell.env("STACK", "processes");
        shell.env("CARGO", "true").env("STACK_TOOLS", &self.tools).env("STACK_DB", "mariadb");
        shell.env("STACK_DIR", self.folder.join(".stack")).env("SCHEMAS_DIR", self.folder.join("schemas"));
        shell.env("INGEST_URL", format!("http://127.0.0.1:{}", self.ports[0]));
        shell
    }

    /// With the usual ports, and with paths as in a clone.
    fn as_usual(&self, printed: &str) -> String {
        let text = PORTS.iter().zip(&self.ports).fold(printed.to_owned(), |text, ((_, usual), here)| {
            text.replace(&format!(":{here}"), &format!(":{usual}"))
        });
        text.replace(&format!("{}/", self.folder.display()), "")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Its servers outlive whoever started them.
        drop(self.shell("target/ci/stack down").output());
    }
}

fn only_reads(command: &str) -> bool {
    let writes = [" -X", " -d", "--data", "--request"].iter().any(|flag| command.contains(flag));
    (command.starts_with("curl ") && !writes) || command.starts_with("mariadb ")
}

//! Starts children that die with this process, whatever kills it.
//!
//! Linux sends a child its parent-death signal when the *thread* that forked it ends, not the process. Test harnesses
//! end their threads all the time, so every attached child is forked by one thread that never ends. `setpriv` asks for
//! the signal, because asking from Rust between fork and exec would need `unsafe`.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

struct Order {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

static ORDERS: OnceLock<SyncSender<Order>> = OnceLock::new();

fn orders() -> &'static SyncSender<Order> {
    ORDERS.get_or_init(|| {
        let (orders, inbox) = sync_channel::<Order>(1);
        std::thread::spawn(move || {
            // Ends never: the sender lives in a static.
            for mut order in inbox {
                // An asker who is gone drops the child unowned; it still dies with this process.
                drop(order.reply.send(order.command.spawn()));
            }
        });
        orders
    })
}

/// A command that runs `program` and is killed when its parent thread ends; it keeps the pid that `spawn` gives.
pub(crate) fn attached(program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A command that runs `program` in a session of its own, out of reach of the terminal that started it.
pub(crate) fn detached(program: &OsStr) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program);
    command
}

/// Forks from the thread that never ends.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = sync_channel(1);
    let gone = |_| io::Error::other("the spawning thread is gone");
    orders().send(Order { command, reply }).map_err(|_| gone(()))?;
    answer.recv().map_err(|_| gone(()))?
}

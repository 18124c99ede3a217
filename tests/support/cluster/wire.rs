// SPDX-License-Identifier: Apache-2.0
//! A way to the API server that can be cut: a node that is partitioned, not dead.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Passes connections on, until it is cut.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    ends: Arc<Ends>,
}

#[derive(Debug)]
struct Ends {
    to: u16,
    whole: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Wire {
    /// One to a port of loopback. It lasts as long as the process.
    pub(super) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ends = Arc::new(Ends {
            to: port,
            whole: AtomicBool::new(true),
            streams: Mutex::default(),
        });
        let wire = Self {
            port: listener.local_addr().unwrap().port(),
            ends: Arc::clone(&ends),
        };
        std::thread::spawn(move || {
            // Whoever cannot be connected is dropped, and hears that the connection has ended.
            for near in listener.incoming().flatten() {
                let _ = ends.connect(near);
            }
        });
        wire
    }

    /// Where it begins.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Nothing passes any more.
    pub fn cut(&self) {
        self.ends.whole.store(false, Ordering::SeqCst);
        for stream in self.ends.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// New connections pass again.
    pub fn mend(&self) {
        self.ends.whole.store(true, Ordering::SeqCst);
    }
}

impl Ends {
    fn connect(&self, near: TcpStream) -> std::io::Result<()> {
        let mut streams = self.streams.lock().unwrap();
        if !self.whole.load(Ordering::SeqCst) {
            return Ok(());
        }
        let far = TcpStream::connect(("127.0.0.1", self.to))?;
        streams.extend([near.try_clone()?, far.try_clone()?]);
        drop(streams);
        pass(near.try_clone()?, far.try_clone()?);
        pass(far, near);
        Ok(())
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

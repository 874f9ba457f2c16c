//! An authority, and certificates by it for the broker and for a client, made with `openssl`.
//!
//! All of it is PEM, which Kafka and librdkafka both read as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;

/// As long as authorities on the web may certify.
const DAYS: &str = "825";

/// A certificate that ends within this is made anew: no run lasts longer.
const SECONDS_LEFT: &str = "86400";

/// For whom, and where the broker is found.
const EXTENSIONS: &str =
    "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n";

/// The folder with the certificates.
pub(crate) struct Certificates {
    pub(crate) folder: PathBuf,
}

impl Certificates {
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub(crate) fn client_certificate(&self) -> PathBuf {
        self.folder.join("client.crt")
    }

    pub(crate) fn client_key(&self) -> PathBuf {
        self.folder.join("client.key")
    }

    /// The broker's key and chain, in one file.
    pub(super) fn server(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// Makes them, unless they are there and good for another day.
    pub(super) fn ensure(&self) -> Result<()> {
        let check = ["x509", "-checkend", SECONDS_LEFT, "-noout", "-in"];
        let good = || process::output(Command::new("openssl").args(check).arg(self.server()));
        if self.server().exists() && good().is_ok() {
            return Ok(());
        }
        let fresh = self.folder.with_extension("new");
        for old in [&fresh, &self.folder] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        fs::create_dir_all(&fresh)?;
        make(&fresh)?;
        fs::rename(&fresh, &self.folder)?;
        Ok(())
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::write(folder.join("extensions"), EXTENSIONS)?;
    let openssl = |arguments: &str| {
        process::output(Command::new("openssl").current_dir(folder).args(arguments.split(' ')))
    };
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -days {DAYS} -subj /CN=tidemill-authority \
         -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem"
    ))?;
    for who in ["server", "client"] {
        openssl(&format!(
            "req -newkey rsa:2048 -nodes -subj /CN={who} -keyout {who}.key -out {who}.csr"
        ))?;
        openssl(&format!(
            "x509 -req -in {who}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {DAYS} \
             -extfile extensions -out {who}.crt"
        ))?;
    }
    let mut server = String::new();
    for part in ["server.key", "server.crt", "ca.pem"] {
        server += &fs::read_to_string(folder.join(part))?;
    }
    fs::write(folder.join("server.pem"), server)?;
    Ok(())
}

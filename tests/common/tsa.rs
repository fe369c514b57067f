//! A time stamp authority made with openssl in a temporary folder: a root, a certificate for stamps, and
//! `openssl ts -reply` behind it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Kinds of keys that openssl makes.
pub const RSA: &[&str] = &["rsa:2048"];
pub const EC: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
/// What the certificate of an authority is for.
pub const STAMPS: &str = "keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n";

pub struct Tsa {
    pub dir: tempfile::TempDir,
}

impl Tsa {
    /// An authority that answers requests over SHA-256.
    pub fn new(key: &[&str]) -> Tsa {
        Tsa::with(key, "sha256", "sha256")
    }

    /// One that takes requests with these digests only, and names its certificate by that digest.
    pub fn with(key: &[&str], digests: &str, ess: &str) -> Tsa {
        let tsa = Tsa { dir: tempfile::tempdir().unwrap() };
        let root = ["req", "-x509", "-nodes", "-subj", "/CN=Test root", "-days", "30", "-newkey"];
        let out = ["-keyout", "ca.key", "-out", "ca.pem", "-addext", "keyUsage=critical,keyCertSign"];
        tsa.openssl(&[&root[..], key, &out].concat());
        tsa.certificate("tsa", key, STAMPS);
        let config = format!(
            "[tsa]\ndefault_tsa = t\n[t]\nserial = serial\nsigner_cert = tsa.pem\ncerts = ca.pem\n\
             signer_key = tsa.key\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = {digests}\n\
             accuracy = secs:1\nordering = yes\ntsa_name = yes\ness_cert_id_alg = {ess}\n"
        );
        fs::write(tsa.path("tsa.cnf"), config).unwrap();
        fs::write(tsa.path("serial"), "01\n").unwrap();
        tsa
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The root, as a configuration's `ca_file:`.
    pub fn root(&self) -> Vec<u8> {
        self.read("ca.pem")
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new("openssl").args(arguments).current_dir(self.dir.path()).output().unwrap()
    }

    pub fn openssl(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A certificate `<name>.pem` of the root with these extensions, and its key.
    pub fn certificate(&self, name: &str, key: &[&str], extensions: &str) {
        let (key_file, csr, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN=Test {name}");
        let new = ["req", "-nodes", "-subj", &subject, "-keyout", &key_file, "-out", &csr, "-newkey"];
        self.openssl(&[&new[..], key].concat());
        fs::write(self.path("extensions"), format!("basicConstraints=critical,CA:FALSE\n{extensions}"))
            .unwrap();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            "extensions",
            "-out",
            &pem,
        ]);
    }

    /// The response to a request, as the authority's server would send it.
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        fs::write(self.path("request.tsq"), request).unwrap();
        self.openssl(&[
            "ts",
            "-reply",
            "-config",
            "tsa.cnf",
            "-queryfile",
            "request.tsq",
            "-out",
            "response.tsr",
        ]);
        self.read("response.tsr")
    }
}

//! The files of a report and their signatures.
//!
//! ```text
//! report.html       the page                            report.html.sig      SSHSIG
//! report.json       its data                            report.json.sig      SSHSIG
//!                                                       report.json.minisig  minisign
//! checkpoint        the trail's head, a signed note
//! allowed_signers   the key, in ssh-keygen's form
//! VERIFY.md         the exact commands
//! MANIFEST.sha256   SHA-256 of the five files above     MANIFEST.sha256.sig  SSHSIG
//! ```

use super::data::Report;
use super::judge::thousands;
use super::{minisign, page, sshsig};
use crate::model::Time;
use crate::model::digest::hex;
use crate::policy::framework::Group;
use ed25519_dalek::{SigningKey, VerifyingKey};
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name within the folder.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All files, each signature after what it signs.
pub(super) fn files(
    report: &Report,
    groups: &[Group],
    zone: &TimeZone,
    key: &SigningKey,
    began: Time,
) -> Vec<File> {
    // The data holds no maps with other keys than strings and no floats, so it always serialises.
    let mut json = serde_json::to_vec_pretty(report).unwrap_or_default();
    json.push(b'\n');
    let json_digest = hex(&Sha256::digest(&json));
    let public = key.verifying_key();
    let signer = sshsig::allowed_signer_line(&public, &report.deployment, began);
    let minisig = minisign::sign(key, &json, &report.trail.origin, report.trail.size);
    let contents = vec![
        file("report.html", page::render(report, groups, zone, &json_digest).into_bytes()),
        file("report.json", json),
        file("checkpoint", report.trail.checkpoint.clone().into_bytes()),
        file("allowed_signers", format!("{signer}\n").into_bytes()),
        file("VERIFY.md", verify_md(report, &public, &signer).into_bytes()),
    ];
    let manifest: String = contents
        .iter()
        .map(|file| format!("{}  {}\n", hex(&Sha256::digest(&file.bytes)), file.name))
        .collect();
    let mut files = contents;
    files.push(file("MANIFEST.sha256", manifest.into_bytes()));
    let signed = ["report.html", "report.json", "MANIFEST.sha256"];
    let signatures: Vec<File> = files
        .iter()
        .filter(|file| signed.contains(&file.name.as_str()))
        .map(|signed| file(&format!("{}.sig", signed.name), sshsig::sign(key, &signed.bytes).into_bytes()))
        .collect();
    files.extend(signatures);
    files.push(file("report.json.minisig", minisig.into_bytes()));
    files
}

fn file(name: &str, bytes: Vec<u8>) -> File {
    File { name: name.to_owned(), bytes }
}

/// The manual of verification, with the commands of this very bundle.
fn verify_md(report: &Report, public: &VerifyingKey, signer: &str) -> String {
    let deployment = &report.deployment;
    let trail = &report.trail;
    let namespace = sshsig::NAMESPACE;
    let list = recount(report);
    format!(
        "# How to verify this report\n\n\
         {title} {version}, {deployment}, {from} (included) to {to} (excluded). Nothing below needs the program that \
         made the report, save step 4.\n\n\
         ## 1. Get the key on another way\n\n\
         `allowed_signers` lies beside the report, so whoever could change the report could change it too. Compare \
         it with the line that begins `report ` in the trust file which you got from the operator on another way: \
         on paper, from an earlier audit, by telephone. The operator prints it with\n\n\
         ```sh\ncrmwarden keys export --format trust\n```\n\n\
         The key must be\n\n\
         ```text\n{key}\n{fingerprint}\n```\n\n\
         and `ssh-keygen -lf` over a file with the first of these lines must print the second. `allowed_signers` must \
         be exactly\n\n\
         ```text\n{signer}\n```\n\n\
         ## 2. Verify the signatures\n\n\
         ```sh\n\
         ssh-keygen -Y verify -f allowed_signers -I {deployment} -n {namespace} -s MANIFEST.sha256.sig < MANIFEST.sha256\n\
         ssh-keygen -Y verify -f allowed_signers -I {deployment} -n {namespace} -s report.json.sig < report.json\n\
         ssh-keygen -Y verify -f allowed_signers -I {deployment} -n {namespace} -s report.html.sig < report.html\n\
         ```\n\n\
         Each must print `Good \"{namespace}\" signature for {deployment} with ED25519 key {fingerprint}` and exit with 0.\n\n\
         Where minisign is at hand instead, it verifies the data with the same key in its own form, which \
         `crmwarden keys export --format minisign` prints:\n\n\
         ```sh\nminisign -V -P {minisign} -m report.json\n```\n\n\
         Its trusted comment must be `{comment}`: the head of the trail that the report was read from.\n\n\
         ## 3. Verify the files\n\n\
         ```sh\nsha256sum --check --strict MANIFEST.sha256\n```\n\n\
         ## 4. Verify the trail behind the report\n\n\
         On a copy of the trail, with the trust file of step 1:\n\n\
         ```sh\ncrmwarden verify /path/to/state --trust trust.txt --known-head checkpoint\n```\n\n\
         The report was read from `{origin}` at {size} entries with the root hash\n`{root}`.\n\
         A trail that has grown since still holds this head; a trail that does not was cut or replaced. The checkpoint is \
         a C2SP signed note, so other programs that read such notes can verify it as well.\n\n\
         ## 5. Count a list again\n\n\
         Each list in the report prints its question, the number of rows that answered and a SHA-256 over them as stored. \
         {list}\n\
         The question of every list stands in `report.json` under `query`. A question that uses `.i<…` is bound to the entries that the \
         report was read from.\n\n\
         ## What a good signature means\n\n\
         That these files are the ones that the holder of the key signed, and that the lists are whole with respect to \
         the trail. Not that the CRM told its feeds everything, nor that a control is met.\n",
        title = report.framework.title,
        version = report.framework.version,
        from = report.period.from,
        to = report.period.to,
        key = trail.report_key,
        fingerprint = trail.report_key_fingerprint,
        minisign = minisign::public_key(public),
        comment = minisign::trusted_comment(&trail.origin, trail.size).replace('\t', "<tab>"),
        origin = trail.origin,
        size = thousands(trail.size),
        root = trail.root,
    )
}

/// The commands that count the first list with rows again.
fn recount(report: &Report) -> String {
    let sample = report
        .controls
        .iter()
        .flat_map(|control| control.evidence.iter().filter_map(|evidence| evidence.list.as_ref()))
        .find(|list| list.rows_in_source > 0);
    match sample {
        Some(list) => format!(
            "For list {id} ({title}) of this report, in the folder that holds the trail's segments:\n\n\
             ```sh\n\
             cat trail/g*/segments/*.jsonl \\\n  | jq -rR '. as $line | fromjson | select({query}) | $line' \\\n  | sha256sum\n\
             # expected: {digest}, over {rows} rows\n\
             ```\n\n\
             Sealed segments may be compressed: read those with `zstdcat` in the place of `cat`, in the order of \
             their names.\n",
            id = list.id,
            title = list.title,
            query = list.query,
            digest = list.digest,
            rows = thousands(list.rows_in_source),
        ),
        None => "No list of this report has a row, so there is nothing to count again.\n".to_owned(),
    }
}

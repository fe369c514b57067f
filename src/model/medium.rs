//! What a folder lies on, by the magic number that statfs(2) gives.

/// FUSE: whatever runs in user space, sshfs among it.
const FUSE: u64 = 0x6573_5546;
/// Cluster file systems (Lustre, OCFS2, GFS2): their syncs hold, but other machines write as well.
const CLUSTER: [u64; 3] = [0x0bd0_0bd0, 0x7461_636f, 0x0116_1970];

/// The name of a network file system, whose syncs and renames are not what a trail needs.
pub fn network(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB",
        0x564c => "NCP",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x0102_1997 => "9P",
        0x00c3_6400 => "CephFS",
        _ => return None,
    })
}

/// Whether other machines may write there, so that what this one is told of names and sizes may be old. In user space
/// inode numbers may also change with the name.
pub fn is_shared(magic: u64) -> bool {
    network(magic).is_some() || magic == FUSE || CLUSTER.contains(&magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_more_than_what_a_trail_refuses() {
        assert_eq!((network(0x6969), network(FUSE), network(0xef53)), (Some("NFS"), None, None));
        assert!(is_shared(0x6969) && is_shared(FUSE) && is_shared(0x7461_636f));
        assert!(!is_shared(0xef53), "ext4");
    }
}

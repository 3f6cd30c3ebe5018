//! What is left out unless someone asks for it.
//!
//! A secret is on the list where nothing that runs in a pod needs the developer's own copy: keys, tokens and
//! credentials of a person. What programs read for their work (`.env`, `*.pem`, `.npmrc`) is not, because leaving
//! it out silently would break the program; projects that keep such files out of their repository have them in
//! `.gitignore`, which is obeyed. Every line can be taken back by a negated pattern.

/// The default list: a pattern in gitignore syntax, and why it is there.
pub fn default_patterns() -> &'static [(&'static str, &'static str)] {
    DEFAULTS
}

/// Directories and files of version control: left out unless `vcs` brings them in.
pub fn vcs_patterns() -> &'static [(&'static str, &'static str)] {
    VCS
}

const DEFAULTS: &[(&str, &str)] = &[
    ("id_rsa", "private ssh key"),
    ("id_dsa", "private ssh key"),
    ("id_ecdsa", "private ssh key"),
    ("id_ed25519", "private ssh key"),
    ("id_ecdsa_sk", "private ssh key"),
    ("id_ed25519_sk", "private ssh key"),
    ("*.ppk", "private ssh key of PuTTY"),
    (".ssh/", "ssh keys and configuration"),
    (".gnupg/", "private GnuPG keys"),
    (".aws/", "cloud credentials"),
    (".azure/", "cloud credentials"),
    (".config/gcloud/", "cloud credentials"),
    ("application_default_credentials.json", "cloud credentials"),
    (".kube/", "cluster credentials"),
    (".docker/config.json", "registry credentials"),
    (".netrc", "passwords"),
    (".git-credentials", "passwords"),
    (".pypirc", "upload credentials"),
    (".cargo/credentials", "upload credentials"),
    (".cargo/credentials.toml", "upload credentials"),
    (".vault-token", "token"),
    ("credentials.tfrc.json", "token"),
    ("*.kdbx", "password store"),
    (".*.sw[g-px]", "swap file of vim"),
    (".sw[g-px]", "swap file of vim"),
    ("4913", "vim's test whether a directory can be written"),
    ("*~", "backup of an editor"),
    (".#*", "lock of emacs"),
    ("\\#*#", "autosave of emacs"),
    ("*___jb_tmp___", "safe write of JetBrains editors"),
    ("*___jb_old___", "safe write of JetBrains editors"),
    ("*___jb_bak___", "safe write of JetBrains editors"),
    (".*.kate-swp", "swap file of Kate"),
    (".goutputstream-*", "safe write of GLib editors"),
    (".~lock.*#", "lock of LibreOffice"),
    ("~$*", "lock of Microsoft Office"),
    (".DS_Store", "view settings of macOS"),
    ("._*", "resource fork of macOS"),
    (".AppleDouble/", "resource forks of macOS"),
    (".Spotlight-V100/", "search index of macOS"),
    (".Trashes/", "trash of macOS"),
    (".fseventsd/", "event log of macOS"),
    (".TemporaryItems/", "temporaries of macOS"),
    ("Thumbs.db", "view settings of Windows"),
    ("ehthumbs.db", "view settings of Windows"),
    ("$RECYCLE.BIN/", "trash of Windows"),
    ("System Volume Information/", "volume data of Windows"),
    (".directory", "view settings of KDE"),
    (".Trash-*/", "trash of a volume"),
    ("/lost+found/", "what a file system check found"),
    (".nfs[0-9a-f]*", "deleted file that is still open, on NFS"),
    (".fuse_hidden*", "deleted file that is still open, on FUSE"),
];

const VCS: &[(&str, &str)] = &[
    (".git", "version control"),
    (".hg", "version control"),
    (".svn", "version control"),
    (".jj", "version control"),
    (".bzr", "version control"),
    (".sl", "version control"),
    (".pijul", "version control"),
    ("_darcs/", "version control"),
    ("CVS/", "version control"),
];

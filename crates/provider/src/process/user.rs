//! Who runs an instance.

use std::fs;
use std::io;

/// A user of this machine, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    /// Its only group.
    pub(super) gid: u32,
}

impl User {
    /// The one that is called `name`, or is `UID:GID`.
    ///
    /// # Errors
    /// `NotFound` when nobody is; only `/etc/passwd` is asked. `InvalidInput` for root: what is ordered to be somebody else must
    /// not be everything.
    pub(super) fn find(name: &str) -> io::Result<User> {
        let user = match name.split_once(':').and_then(|(uid, gid)| uid.parse().ok().zip(gid.parse().ok())) {
            Some((uid, gid)) => User { uid, gid },
            None => named(&fs::read_to_string(USERS)?, name).ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("there is no user {name:?} in {USERS}"))
            })?,
        };
        if user.uid == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the user {name:?} is root")));
        }
        Ok(user)
    }
}

/// Whether instances can be run by the user who is called `name`, or is `UID:GID`.
///
/// # Errors
/// `NotFound` when there is none; `InvalidInput` for root.
pub fn check_user(name: &str) -> io::Result<()> {
    User::find(name).map(drop)
}

/// Reads lines of `name:password:uid:gid:...` (passwd(5)).
fn named(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next()? == name;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        is_it.then_some(User { uid, gid })
    })
}

/// The machine's users.
const USERS: &str = "/etc/passwd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34:Web:/var/www:/usr/sbin/nologin\n";
        assert_eq!(named(users, "web"), Some(User { uid: 33, gid: 34 }));
        assert_eq!(named(users, "broken"), None);
        assert_eq!(User::find("12:34").expect("numbers"), User { uid: 12, gid: 34 });
        assert_eq!(User::find("nobody here").expect_err("unknown").kind(), io::ErrorKind::NotFound);
        assert_eq!(User::find("0:0").expect_err("root").kind(), io::ErrorKind::InvalidInput);
    }
}

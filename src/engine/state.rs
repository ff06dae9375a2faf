//! The database of an instance: one SQLite file in WAL mode that daemon, command lines and monitors open side by side.
//! Knows the schema and transactions; what the rows mean is known by the module whose tables they are.
//!
//! Guarantees: a transaction is whole or absent after a crash or a power cut. Assumption: a power cut may take the last
//! transactions back (`synchronous=NORMAL`), so whoever needs content on the disk first syncs it first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::files::{FileError, failpoint};

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("open the database {}: {source}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("the database {} has schema {found}, and this setpoint knows {known} at most; use the newer setpoint again", path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("database: {0}")]
    Query(#[from] rusqlite::Error),
    #[error(transparent)]
    File(#[from] FileError),
}

/// An open database. Cheap to share behind an `Arc`; one statement runs at a time.
#[derive(Debug)]
pub struct Db {
    connection: Mutex<Connection>,
}

/// How many rows this process has changed, and a number that is another one when somebody else has changed any: as long as both are
/// the same, so is all that is in the database. Source: `PRAGMA data_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    own: u64,
    others: i64,
}

impl Stamp {
    /// Of what this transaction sees.
    pub fn of(t: &Transaction<'_>) -> rusqlite::Result<Self> {
        let others = t.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        Ok(Self { own: t.total_changes(), others })
    }
}

/// What was made of rows when they were read last, of one database. Who keeps the host reads the same again and again.
#[derive(Debug)]
pub struct Reading<T>(Mutex<Option<(Stamp, Arc<T>)>>);

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Reading<T> {
    /// What `read` gives. As long as nothing in the database has changed, it is the very same value as the last time.
    pub fn get(&self, db: &Db, read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<Arc<T>, StateError> {
        // What a thread that panicked has left is whole: it is only ever exchanged.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        db.read(|t| {
            let stamp = Stamp::of(t)?;
            if let Some((_, value)) = known.as_ref().filter(|(before, _)| *before == stamp) {
                return Ok(Arc::clone(value));
            }
            let value = Arc::new(read(t)?);
            *known = Some((stamp, Arc::clone(&value)));
            Ok(value)
        })
    }
}

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(30);

/// Each entry brings the schema one version up. What has been released is never edited.
const MIGRATIONS: [&str; 10] = [
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
    include_str!("schema/0008.sql"),
    include_str!("schema/0009.sql"),
    include_str!("schema/0010.sql"),
];
const KNOWN: u32 = MIGRATIONS.len() as u32;

impl Db {
    /// Opens `state.db` in the state root, and creates or migrates it.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        let path = state_dir.join("state.db");
        let fail = |source| StateError::Open { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(fail)?;
        connection.busy_timeout(BUSY).map_err(fail)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(fail)?;
        connection.pragma_update(None, "synchronous", "normal").map_err(fail)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(fail)?;
        // Every command opens and closes the database: the last one out need not fold the log in, with two syncs. The log
        // is folded in when it has grown.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(64);
        migrate(&mut connection, &path)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Runs `query` on a consistent view.
    pub fn read<T>(&self, query: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StateError> {
        self.run(TransactionBehavior::Deferred, query)
    }

    /// Runs `change` as one transaction: all of it or, when it fails, nothing.
    pub fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StateError> {
        failpoint("database before")?;
        let changed = self.run(TransactionBehavior::Immediate, change)?;
        failpoint("database after")?;
        Ok(changed)
    }

    fn run<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        // A poisoned lock only says that another thread panicked; its transaction was rolled back.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(behavior)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    let version = |c: &Connection| c.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
    if version(connection)? == KNOWN {
        return Ok(());
    }
    // Another process may be migrating too: look again once the write lock is held.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found > KNOWN {
        return Err(StateError::Newer { path: path.to_owned(), found, known: KNOWN });
    }
    for script in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(script)?;
    }
    transaction.pragma_update(None, "user_version", KNOWN)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_twice_and_refuses_what_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let one = Db::open(folder.path()).unwrap();
        let two = Db::open(folder.path()).unwrap();
        one.write(|t| t.execute("INSERT INTO configs (digest, content) VALUES ('d', x'00')", [])).unwrap();
        let count: i64 = two.read(|t| t.query_row("SELECT count(*) FROM configs", [], |r| r.get(0))).unwrap();
        assert_eq!(count, 1);
        one.write(|t| t.pragma_update(None, "user_version", 99)).unwrap();
        assert!(matches!(Db::open(folder.path()), Err(StateError::Newer { found: 99, .. })));
    }

    #[test]
    fn what_was_read_holds_until_anybody_writes() {
        let folder = tempfile::tempdir().unwrap();
        let (own, others) = (Db::open(folder.path()).unwrap(), Db::open(folder.path()).unwrap());
        let reading = Reading::default();
        let count = || {
            let read = |t: &Transaction<'_>| t.query_row("SELECT count(*) FROM configs", [], |r| r.get::<_, i64>(0));
            reading.get(&own, read).unwrap()
        };
        let insert = |db: &Db, digest: &str| {
            db.write(|t| t.execute("INSERT OR IGNORE INTO configs (digest, content) VALUES (?1, x'00')", [digest])).unwrap();
        };
        let mut before = count();
        assert_eq!(*before, 0);
        for (db, digest, expected) in [(&own, "a", 1), (&others, "b", 2), (&own, "c", 3), (&others, "d", 4)] {
            assert!(Arc::ptr_eq(&before, &count()));
            insert(db, digest);
            before = count();
            assert_eq!(*before, expected);
            // What changes nothing is no change.
            insert(&own, digest);
            assert!(Arc::ptr_eq(&before, &count()));
        }
        others.write(|t| t.execute("DELETE FROM configs", [])).unwrap();
        assert_eq!(*count(), 0);
    }

    /// What networks had before they had IPv6 is theirs afterwards.
    #[test]
    fn networks_of_older_versions_stay() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join("state.db")).unwrap();
        for script in &MIGRATIONS[..8] {
            old.execute_batch(script).unwrap();
        }
        old.execute_batch(
            "INSERT INTO networks (id, name, spec, subnet) VALUES ('n', 'front', '{}', '10.1.0.0/24'), ('m', 'back', '{}', '10.2.0.0/24');
             INSERT INTO leases VALUES ('n', 'c', '10.1.0.2', '[]', 0);
             INSERT INTO published VALUES ('c', 'tcp', '', 8080, 80, '10.1.0.2');
             PRAGMA user_version = 8;",
        )
        .unwrap();
        drop(old);
        let db = Db::open(folder.path()).unwrap();
        let text = |query: &str| db.read(|t| t.query_row(query, [], |row| row.get::<_, String>(0))).unwrap();
        assert_eq!(
            text("SELECT group_concat(name || subnet || coalesce(subnet6, '-')) FROM networks"),
            "front10.1.0.0/24-,back10.2.0.0/24-"
        );
        assert_eq!(text("SELECT network || container || address || coalesce(address6, '-') || link FROM leases"), "nc10.1.0.2-0");
        assert_eq!(text("SELECT container || host_port || address || coalesce(address6, '-') FROM published"), "c808010.1.0.2-");
        assert_eq!(text("SELECT global_id FROM ula").len(), 10);
        // Who is in a network keeps it, as before.
        assert!(db.write(|t| t.execute("DELETE FROM networks WHERE id = 'n'", [])).is_err());
        db.write(|t| t.execute("DELETE FROM networks WHERE id = 'm'", [])).unwrap();
    }
}

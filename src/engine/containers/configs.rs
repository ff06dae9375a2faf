//! Contents of configs and secrets: kept in the database by digest, written beside a container as files when it starts.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Containers, ContainersError, Record};
use crate::engine::runtime::spec::HostMount;
use crate::files::{self, FileError};
use crate::model::spec::{ContainerSpec, Mount};
use crate::model::{ContainerId, Digest};

impl Containers {
    /// Keeps a content. The same content again changes nothing.
    pub fn put_config(&self, content: &[u8]) -> Result<Digest, ContainersError> {
        let digest = Digest::of(content);
        self.db.write(|t| {
            t.prepare_cached("INSERT OR IGNORE INTO configs (digest, content) VALUES (?1, ?2)")?
                .execute(params![digest.to_string(), content])
        })?;
        Ok(digest)
    }

    /// Forgets all contents but those that a container names and those that `keep` says, and gives how many. One transaction: a
    /// content that is needed is named by a row before anybody needs it.
    pub fn collect_configs(
        &self,
        keep: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<BTreeSet<Digest>>,
    ) -> Result<usize, ContainersError> {
        Ok(self.db.write(|t| {
            let all = t
                .prepare_cached("SELECT digest FROM configs")?
                .query_map([], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            if all.is_empty() {
                return Ok(0);
            }
            let mut keep: BTreeSet<String> = keep(t)?.iter().map(ToString::to_string).collect();
            let mut query = t.prepare_cached("SELECT spec FROM containers")?;
            for spec in query.query_map([], |row| row.get::<_, String>(0))? {
                // What cannot be read may be what must stay.
                let unread = |e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e));
                let spec: ContainerSpec = serde_json::from_str(&spec?).map_err(unread)?;
                for mount in &spec.mounts {
                    if let Mount::Config { digest, .. } = mount {
                        keep.insert(digest.to_string());
                    }
                }
            }
            let mut forget = t.prepare_cached("DELETE FROM configs WHERE digest = ?1")?;
            all.iter().filter(|digest| !keep.contains(*digest)).try_fold(0, |sum, digest| Ok(sum + forget.execute([digest])?))
        })?)
    }

    /// Writes a container's configs as files of their mode and owner, and says where they are to be mounted.
    pub(super) fn place_configs(&self, record: &Record) -> Result<Vec<HostMount>, ContainersError> {
        let mut mounts = Vec::new();
        for mount in &record.spec.mounts {
            let Mount::Config { digest, target, mode, uid, gid, secret, .. } = mount else { continue };
            let content = self.content(record, digest, target)?;
            let folder = self.folder_of_configs(&record.id, *secret);
            files::create_dirs(&folder, 0o700)?;
            let path = folder.join(file_name(target));
            files::publish(&path, &content, 0o600)?;
            chown(&path, Some(*uid), Some(*gid)).map_err(|e| FileError::new("set the owner of", &path, e))?;
            // After the owner, because a change of owner takes the set-user-id bits away.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode & 0o7777))
                .map_err(|e| FileError::new("set the mode of", &path, e))?;
            mounts.push(HostMount::Bind { source: path, target: target.clone(), read_only: true });
        }
        Ok(mounts)
    }

    /// Writes those configs of a container that runs whose files have another content: into the very files, because these are
    /// what it has mounted.
    ///
    /// # Errors
    /// When the file of one is not there that is another one than in `old`.
    pub(super) fn rewrite_configs(&self, old: &Record, record: &Record) -> Result<(), ContainersError> {
        for mount in &record.spec.mounts {
            let Mount::Config { digest, target, secret, .. } = mount else { continue };
            let path = self.folder_of_configs(&record.id, *secret).join(file_name(target));
            // One that was started by a version that named its files otherwise keeps what it has.
            let is_kept = || old.spec.mounts.iter().any(|old| matches!(old, Mount::Config { digest: was, .. } if was == digest));
            match files::read_if_there(&path)? {
                Some(content) if Digest::of(&content) == *digest => {}
                None if is_kept() => {}
                _ => files::rewrite(&path, &self.content(record, digest, target)?)?,
            }
        }
        Ok(())
    }

    /// Which of a container's configs have a file that says something else: where they are mounted.
    pub(super) fn changed_configs(&self, record: &Record) -> Result<Vec<String>, ContainersError> {
        let mut changed = Vec::new();
        for mount in &record.spec.mounts {
            let Mount::Config { digest, target, secret, .. } = mount else { continue };
            let path = self.folder_of_configs(&record.id, *secret).join(file_name(target));
            // One that was started by a version that named its files otherwise is as it was.
            if files::read_if_there(&path)?.is_some_and(|content| Digest::of(&content) != *digest) {
                changed.push(target.clone());
            }
        }
        Ok(changed)
    }

    /// What is of this boot only is in memory.
    pub(super) fn folder_of_configs(&self, id: &ContainerId, secret: bool) -> PathBuf {
        if secret { self.instance.container_run_dir(id).join("secrets") } else { self.instance.container_dir(id).join("configs") }
    }

    fn content(&self, record: &Record, digest: &Digest, target: &str) -> Result<Vec<u8>, ContainersError> {
        let content: Option<Vec<u8>> = self.db.read(|t| {
            t.prepare_cached("SELECT content FROM configs WHERE digest = ?1")?
                .query_row([digest.to_string()], |row| row.get(0))
                .optional()
        })?;
        content.ok_or_else(|| ContainersError::NoConfig {
            name: record.name.to_string(),
            digest: *digest,
            target: target.to_owned(),
        })
    }
}

/// Of where it is mounted, which does not change when other mounts come and go.
fn file_name(target: &str) -> String {
    Digest::of(target.as_bytes()).short()
}

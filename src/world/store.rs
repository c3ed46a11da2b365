//! The model store: what learners keep between trials, in a directory or a bucket.

use std::collections::BTreeMap;
use std::io;

use futures::TryStreamExt;
use object_store::ClientConfigKey;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload};

/// Why the store could not be used. Each says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no store.
    #[error("the model store {url:?} can't be opened: {message}; use file:///directory or s3://bucket/prefix")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// The volume is full.
    #[error("the store has no space left for {path}; enlarge its volume")]
    Full {
        /// What was written.
        path: String,
    },
    /// The credentials do not allow it.
    #[error("the store denies access to {path}: {message}; correct its credentials or the directory's owner")]
    Denied {
        /// What was read or written.
        path: String,
        /// The store's message.
        message: String,
    },
    /// Everything else: it is unreachable, say.
    #[error("the store failed at {path}: {message}; check that it is reachable")]
    Failed {
        /// What was read or written.
        path: String,
        /// The store's message.
        message: String,
    },
}

/// What a Secret may say of how a bucket is read, under the names of the standard variables.
const BUCKET_KEYS: [(&str, AmazonS3ConfigKey); 7] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_REGION", AmazonS3ConfigKey::Region),
    ("AWS_ENDPOINT_URL", AmazonS3ConfigKey::Endpoint),
    ("AWS_ALLOW_HTTP", AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)),
    ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", AmazonS3ConfigKey::VirtualHostedStyleRequest),
];

/// A place for bytes by path (`shop/orders/session.safetensors`).
#[derive(Debug)]
pub struct Store(Box<dyn ObjectStore>);

impl Store {
    /// Opens `file:///directory`, which is made when it is missing, or `s3://bucket/prefix` with the standard AWS
    /// environment variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_REGION`, …).
    ///
    /// # Errors
    /// When the URL names no store or the directory can't be made. A bucket is not asked for before it is used.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let wrong = |message: String| StoreError::Url { url: url.to_owned(), message };
        if let Some(directory) = url.strip_prefix("file://") {
            if !directory.starts_with('/') {
                return Err(wrong("the path is not absolute".into()));
            }
            std::fs::create_dir_all(directory).map_err(|error| wrong(error.to_string()))?;
            let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| wrong(error.to_string()))?;
            // Written as a temporary file, synced and renamed: a crash leaves the old content or the new.
            return Ok(Self(Box::new(store.with_fsync(true))));
        }
        Self::s3(url, AmazonS3Builder::from_env())
    }

    /// Opens `s3://bucket/prefix` with these keys alone, and none of this process's own rights.
    ///
    /// # Errors
    /// When the URL names no bucket, or the keys do not suffice.
    pub fn open_bucket(url: &str, keys: &BTreeMap<String, String>) -> Result<Self, StoreError> {
        let wrong = |message: &str| StoreError::Url { url: url.to_owned(), message: message.to_owned() };
        // Without both, the identity of the pod or the node would be asked for.
        if ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].iter().any(|key| keys.get(*key).is_none_or(String::is_empty))
        {
            return Err(wrong("the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are needed"));
        }
        let mut builder = AmazonS3Builder::new();
        for (name, key) in BUCKET_KEYS {
            if let Some(value) = keys.get(name) {
                builder = builder.with_config(key, value.trim());
            }
        }
        Self::s3(url, builder)
    }

    fn s3(url: &str, builder: AmazonS3Builder) -> Result<Self, StoreError> {
        let wrong = |message: String| StoreError::Url { url: url.to_owned(), message };
        let place = url.strip_prefix("s3://").ok_or_else(|| wrong("its scheme is unknown".into()))?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(wrong("it names no bucket".into()));
        }
        let store = builder.with_bucket_name(bucket).build().map_err(|error| wrong(error.to_string()))?;
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| wrong(error.to_string()))?;
        Ok(Self(Box::new(PrefixStore::new(store, prefix))))
    }

    /// What is stored under the path; `None` when there is nothing.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = match self.0.get(&parse(path)?).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| failed(path, &error))?,
        };
        let bytes = found.bytes().await.map_err(|error| failed(path, &error))?;
        Ok(Some(bytes.to_vec()))
    }

    /// Stores the bytes in place of what was there, whole or not at all.
    ///
    /// # Errors
    /// When the store is full or can't be written.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let put = self.0.put(&parse(path)?, PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| failed(path, &error))
    }

    /// Removes what is stored under the path; nothing there is fine.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.0.delete(&parse(path)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(path, &error)),
        }
    }

    /// Names of what lies directly under the path's directory: files, and directories.
    ///
    /// # Errors
    /// When the store can't be listed.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let found = self.0.list_with_delimiter(Some(&parse(prefix)?)).await.map_err(|error| failed(prefix, &error))?;
        let paths = found.objects.into_iter().map(|object| object.location).chain(found.common_prefixes);
        Ok(paths.filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Brings what is stored into a directory. Only that whose name is `wanted`, and the names of the directories that lead
    /// to it; only what was written at `since_ms` (since 1970) or later, and of that the newest that have no more than so
    /// many `bytes`.
    ///
    /// # Errors
    /// When the store can't be read, or the directory can't be written.
    pub async fn download(
        &self,
        directory: &std::path::Path,
        wanted: fn(&str) -> bool,
        since_ms: i64,
        bytes: u64,
    ) -> Result<Brought, StoreError> {
        let mut found: Vec<_> = self.0.list(None).try_collect().await.map_err(|error| failed("", &error))?;
        found.retain(|object| object.location.parts().all(|part| wanted(part.as_ref())));
        let all = found.len();
        found.retain(|object| object.last_modified.timestamp_millis() >= since_ms);
        let older = all - found.len();
        found.sort_by(|a, b| (b.last_modified, &b.location).cmp(&(a.last_modified, &a.location)));
        let mut room = bytes;
        let fitting = found.iter().map_while(|object| {
            room = room.checked_sub(object.size)?;
            Some(object.location.clone())
        });
        let mut paths: Vec<Path> = fitting.collect();
        let beyond = found.len() - paths.len();
        paths.sort();
        let mut files = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            // Names of several directories may be the same.
            let file = directory.join(format!("{number:06}-{}", path.filename().unwrap_or("log")));
            let kept =
                |error: io::Error| failed(path.as_ref(), &Error::Generic { store: "file", source: Box::new(error) });
            let mut bytes = self.0.get(path).await.map_err(|error| failed(path.as_ref(), &error))?.into_stream();
            let mut output = tokio::fs::File::create(&file).await.map_err(kept)?;
            while let Some(chunk) = bytes.try_next().await.map_err(|error| failed(path.as_ref(), &error))? {
                tokio::io::AsyncWriteExt::write_all(&mut output, &chunk).await.map_err(kept)?;
            }
            tokio::io::AsyncWriteExt::flush(&mut output).await.map_err(kept)?;
            files.push(file);
        }
        Ok(Brought { files, older, beyond })
    }

    /// Removes everything under the path's directory (`shop/orders`, not `shop/orders-2`).
    ///
    /// # Errors
    /// When the store can't be listed or written.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<(), StoreError> {
        let listed = self.0.list(Some(&parse(prefix)?)).map_ok(|found| found.location);
        let paths: Vec<Path> = listed.try_collect().await.map_err(|error| failed(prefix, &error))?;
        for path in paths {
            self.delete(path.as_ref()).await?;
        }
        Ok(())
    }
}

/// What was brought from a store.
#[derive(Debug)]
pub struct Brought {
    /// Files, in the order of their paths in the store.
    pub files: Vec<std::path::PathBuf>,
    /// How many were left for being too old.
    pub older: usize,
    /// How many of the older ones there was no room for.
    pub beyond: usize,
}

fn parse(path: &str) -> Result<Path, StoreError> {
    Path::parse(path).map_err(|error| StoreError::Failed { path: path.to_owned(), message: error.to_string() })
}

fn failed(path: &str, error: &Error) -> StoreError {
    let (path, message) = (path.to_owned(), error.to_string());
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => return StoreError::Full { path },
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                return StoreError::Denied { path, message };
            }
            _ => cause = error.source(),
        }
    }
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreError::Denied { path, message },
        _ => StoreError::Failed { path, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_files_that_fit_are_brought() {
        let (bucket, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, seconds) in [("a.csv", 1000), ("b.csv", 2000), ("c.csv", 3000)] {
            let file = std::fs::File::create(bucket.path().join(name)).unwrap();
            file.set_len(100).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        }
        let store = Store::open(&format!("file://{}", bucket.path().display())).unwrap();
        let brought = async |since_ms, bytes| {
            let Brought { files, older, beyond } =
                store.download(copies.path(), |_| true, since_ms, bytes).await.unwrap();
            let names = files.iter().map(|file| file.file_name().unwrap().to_string_lossy()[7..].to_owned());
            (names.collect::<Vec<_>>().join(" "), older, beyond)
        };
        assert_eq!(brought(0, 1000).await, ("a.csv b.csv c.csv".into(), 0, 0));
        assert_eq!(brought(0, 250).await, ("b.csv c.csv".into(), 0, 1));
        assert_eq!(brought(2_500_000, 1000).await, ("c.csv".into(), 2, 0));
        assert_eq!(brought(0, 50).await, (String::new(), 0, 3));
    }

    #[tokio::test]
    async fn what_is_put_is_got_until_its_directory_is_deleted() {
        let directory = std::env::temp_dir().join(format!("howdah-store-{}", std::process::id()));
        let store = Store::open(&format!("file://{}", directory.display())).unwrap();
        assert_eq!(store.get("shop/orders/actor").await.unwrap(), None);
        store.put("shop/orders/actor", vec![1, 2]).await.unwrap();
        store.put("shop/orders/actor", vec![3]).await.unwrap();
        store.put("shop/orders-2/actor", vec![4]).await.unwrap();
        assert_eq!(store.get("shop/orders/actor").await.unwrap(), Some(vec![3]));
        store.put("shop/orders/old/critic", vec![5]).await.unwrap();
        let mut listed = store.list("shop/orders").await.unwrap();
        listed.sort();
        assert_eq!(listed, ["actor", "old"]);
        let copies = tempfile::tempdir().unwrap();
        store.put("shop/orders/_temporary/0", vec![6]).await.unwrap();
        let files = store.download(copies.path(), |name| !name.starts_with('_'), 0, 1 << 20).await.unwrap().files;
        let contents: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        assert_eq!(contents, [vec![4], vec![3], vec![5]]);
        store.delete_prefix("shop/orders").await.unwrap();
        store.delete_prefix("shop/orders").await.unwrap();
        assert_eq!(store.get("shop/orders/actor").await.unwrap(), None);
        assert_eq!(store.get("shop/orders-2/actor").await.unwrap(), Some(vec![4]));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_wrong_url_is_told() {
        for url in ["", "models", "file://relative", "s3://", "ftp://x", "file:///proc/no/such/place"] {
            let error = Store::open(url).unwrap_err().to_string();
            assert!(error.contains("s3://bucket/prefix"), "{error}");
        }
    }

    #[test]
    fn a_bucket_is_opened_with_its_own_keys_or_not_at_all() {
        let keys = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let both = keys(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "eu-1")]);
        assert!(Store::open_bucket("s3://logs/shop", &both).is_ok());
        for (url, keys) in [
            ("file:///logs", both.clone()),
            ("s3://logs", BTreeMap::new()),
            ("s3://logs", keys(&[("AWS_ACCESS_KEY_ID", "a")])),
            // The pod's identity is not asked for.
            ("s3://logs", keys(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")])),
        ] {
            assert!(Store::open_bucket(url, &keys).is_err(), "{url} {keys:?}");
        }
    }

    #[test]
    fn a_full_volume_has_its_own_sentence() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
        assert!(matches!(failed("a/b", &error), StoreError::Full { path } if path == "a/b"));
    }
}

//! The simulated disk of the test kit as a file system of the index.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parsimon_ann::{FileLock, Vfs, VfsFile};
use parsimon_testkit::{SimDisk, SimFile};

pub(crate) struct DiskVfs {
    pub(crate) disk: SimDisk,
    locked: Arc<AtomicBool>,
}

struct DiskFile(SimFile);

struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl DiskVfs {
    pub(crate) fn shared(disk: &SimDisk) -> Arc<dyn Vfs> {
        Arc::new(DiskVfs { disk: disk.clone(), locked: Arc::default() })
    }
}

impl Vfs for DiskVfs {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(DiskFile(self.disk.open(path, create)?)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        Ok(self.disk.list(dir))
    }

    fn create_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _path: &str) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn lock(&self, _path: &str) -> io::Result<Option<FileLock>> {
        let taken = self.locked.swap(true, Ordering::SeqCst);
        Ok((!taken).then(|| FileLock(Box::new(Held(Arc::clone(&self.locked))))))
    }
}

impl VfsFile for DiskFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len())
    }
}

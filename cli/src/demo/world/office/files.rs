//! The drive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_worker::Failure;

use super::{Office, addresses, has, next_id};
use crate::demo::world::bank::Nothing;
use crate::demo::world::call::Caller;

/// A file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(super) id: String,
    filename: String,
    content: String,
    /// Who else may see it, and how: `r` or `rw`.
    #[serde(default)]
    shared_with: BTreeMap<String, Permission>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Permission {
    R,
    Rw,
}

impl File {
    pub(super) fn is_shared(&self) -> bool {
        !self.shared_with.is_empty()
    }
}

fn find<'a>(office: &'a mut Office, id: &str) -> Result<&'a mut File, Failure> {
    office.files.iter_mut().find(|file| file.id == id).ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Failure {
    Failure::new(format!("there is no file `{id}`"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    filename: String,
    #[serde(default)]
    content: String,
}

/// A new file.
pub(crate) fn create_file(office: &mut Office, _: &Caller, call: Create) -> Result<File, Failure> {
    let Create { filename, content } = call;
    if filename.trim().is_empty() {
        return Err(Failure::new("the file has no name"));
    }
    let id = next_id(office.files.iter().map(|file| &file.id));
    let file = File { id, filename, content, shared_with: BTreeMap::new() };
    office.files.push(file.clone());
    Ok(file)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Append {
    file_id: String,
    content: String,
}

/// A line more.
pub(crate) fn append_to_file(office: &mut Office, _: &Caller, call: Append) -> Result<File, Failure> {
    let file = find(office, &call.file_id)?;
    file.content.push('\n');
    file.content.push_str(&call.content);
    Ok(file.clone())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileId {
    file_id: String,
}

/// A file whole.
pub(crate) fn get_file_by_id(office: &Office, _: &Caller, call: FileId) -> Result<File, Failure> {
    office.files.iter().find(|file| file.id == call.file_id).cloned().ok_or_else(|| missing(&call.file_id))
}

/// Deletes a file for good.
pub(crate) fn delete_file(office: &mut Office, _: &Caller, call: FileId) -> Result<File, Failure> {
    let place = office.files.iter().position(|file| file.id == call.file_id).ok_or_else(|| missing(&call.file_id))?;
    Ok(office.files.remove(place))
}

/// All files.
pub(crate) fn list_files(office: &Office, _: &Caller, _: Nothing) -> Result<Vec<File>, Failure> {
    Ok(office.files.clone())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    query: String,
}

/// Files with the text in them.
pub(crate) fn search_files(office: &Office, _: &Caller, call: Query) -> Result<Vec<File>, Failure> {
    let found = office.files.iter().filter(|f| has(&f.content, &call.query) || has(&f.filename, &call.query));
    Ok(found.cloned().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ByName {
    filename: String,
}

/// Files with that in their name.
pub(crate) fn search_files_by_filename(office: &Office, _: &Caller, call: ByName) -> Result<Vec<File>, Failure> {
    Ok(office.files.iter().filter(|file| has(&file.filename, &call.filename)).cloned().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    file_id: String,
    email: String,
    permission: Permission,
}

/// Lets somebody else see a file.
pub(crate) fn share_file(office: &mut Office, _: &Caller, call: Share) -> Result<File, Failure> {
    addresses(std::slice::from_ref(&call.email))?;
    let file = find(office, &call.file_id)?;
    file.shared_with.insert(call.email, call.permission);
    Ok(file.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{arguments, office};
    use super::*;

    #[test]
    fn files_are_made_written_shared_and_deleted() {
        let (mut office, nobody) = (office(), Caller::default());
        let made = create_file(&mut office, &nobody, arguments(json!({"filename": "n.txt", "content": "x"}))).unwrap();
        assert_eq!(made.id, "11");
        let longer = json!({"file_id": "9", "content": "Second line"});
        assert_eq!(append_to_file(&mut office, &nobody, arguments(longer)).unwrap().content, "First line\nSecond line");
        let share = json!({"file_id": "11", "email": "a@x.example", "permission": "r"});
        let shared = share_file(&mut office, &nobody, arguments(share)).unwrap();
        assert_eq!(shared.shared_with.get("a@x.example"), Some(&Permission::R));
        assert_eq!(office.inventory().shared_files, 2);
        delete_file(&mut office, &nobody, arguments(json!({"file_id": "9"}))).unwrap();
        assert!(get_file_by_id(&office, &nobody, arguments(json!({"file_id": "9"}))).is_err());
        assert_eq!(list_files(&office, &nobody, Nothing {}).unwrap().len(), 2);
    }

    #[test]
    fn files_are_found_by_name_and_by_what_is_in_them() {
        let (office, nobody) = (office(), Caller::default());
        for (query, by_text, by_name) in [("LINE", 1, 0), ("budget", 1, 1), (".", 2, 2), ("nothing", 0, 0)] {
            let text = search_files(&office, &nobody, arguments(json!({"query": query}))).unwrap().len();
            let name = search_files_by_filename(&office, &nobody, arguments(json!({"filename": query}))).unwrap().len();
            assert_eq!((text, name), (by_text, by_name), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_done_says_why() {
        let (mut office, nobody) = (office(), Caller::default());
        let append = append_to_file(&mut office, &nobody, arguments(json!({"file_id": "x", "content": ""})));
        let share = json!({"file_id": "9", "email": "a", "permission": "rw"});
        let share = share_file(&mut office, &nobody, arguments(share));
        let create = create_file(&mut office, &nobody, arguments(json!({"filename": ""})));
        for (failure, reason) in [(append, "no file `x`"), (share, "`a` is no mail address"), (create, "no name")] {
            assert!(format!("{failure:?}").contains(reason), "{failure:?}");
        }
        assert!(serde_json::from_value::<Share>(json!({"file_id": "9", "email": "a@b.c", "permission": "x"})).is_err());
    }
}

//! What `#[message]` makes of types: the same names in gob and in JSON, and JSON as Go has it.

use std::collections::HashMap;

use farcall_gob::{Gob, Schema};
use farcall_macros::message;
use serde_json::json;

/// Stands for the crate `farcall`.
mod farcall {
    pub(crate) mod __private {
        pub(crate) use ::farcall_gob as gob;
        pub(crate) use ::serde;
    }
}

#[message(crate = "crate::messages::farcall")]
#[derive(Debug, PartialEq, Clone)]
struct User {
    user_id: u64,
    #[farcall(rename = "Nick")]
    name: Option<String>,
    home_url: String,
    avatar: Vec<u8>,
    keys: HashMap<String, Vec<Vec<u8>>>,
    scores: Vec<i64>,
    role: Role,
    parent: Option<Box<User>>,
    #[farcall(default = "three")]
    retries: i32,
    #[farcall(skip)]
    cached: bool,
}

fn three() -> i32 {
    3
}

#[message(crate = "crate::messages::farcall")]
#[derive(Debug, PartialEq, Clone, Copy)]
enum Role {
    Guest,
    Admin,
}

#[message(crate = "crate::messages::farcall")]
#[farcall(as = "string")]
#[derive(Debug, PartialEq, Clone, Copy)]
enum Level {
    #[farcall(rename = "")]
    None,
    #[farcall(rename = "high")]
    High,
}

#[message(crate = "crate::messages::farcall", rename_all = "PascalCase")]
#[derive(Debug, PartialEq)]
struct Page<T> {
    next_id: u64,
    items: Vec<T>,
}

#[message(crate = "crate::messages::farcall")]
#[derive(Debug, PartialEq)]
struct Point {
    x: i64,
    y: i64,
}

#[message(crate = "crate::messages::farcall")]
#[derive(Debug, PartialEq)]
struct Blob(Vec<u8>);

#[message(crate = "crate::messages::farcall")]
#[derive(Debug, PartialEq)]
struct Nothing {}

fn user() -> User {
    User {
        user_id: 7,
        name: None,
        home_url: "/".into(),
        avatar: vec![1, 255],
        keys: [("k".into(), vec![vec![0]])].into(),
        scores: vec![],
        role: Role::Admin,
        parent: None,
        retries: 0,
        cached: false,
    }
}

#[test]
fn gob_and_json_have_the_same_names() {
    assert_eq!(
        Schema::of::<User>().to_string(),
        "User{UserID uint; Nick string; HomeURL string; Avatar []byte; Keys map[string][][]byte; Scores []int; \
         Role int; Parent User; Retries int}"
    );
    assert_eq!(
        serde_json::to_value(user()).unwrap(),
        json!({
            "UserID": 7, "Nick": null, "HomeURL": "/", "Avatar": "Af8=", "Keys": {"k": ["AA=="]}, "Scores": [],
            "Role": 1, "Parent": null, "Retries": 0,
        })
    );
    assert_eq!(
        Schema::of::<Page<Nothing>>().to_string(),
        "Page{NextId uint; Items []Nothing}"
    );
    assert_eq!(
        serde_json::to_value(Page {
            next_id: 1,
            items: vec![Nothing {}]
        })
        .unwrap(),
        json!({"NextId": 1, "Items": [{}]})
    );
}

#[test]
fn json_is_read_as_go_reads_it() {
    let all = serde_json::to_string(&user()).unwrap();
    assert_eq!(serde_json::from_str::<User>(&all).unwrap(), user());
    let zero = User {
        retries: 3,
        cached: false,
        ..User::zero().unwrap()
    };
    assert_eq!(
        serde_json::from_value::<User>(json!({"Unknown": 1})).unwrap(),
        zero
    );
    let nulls = json!({"UserID": null, "Avatar": null, "Keys": null, "Scores": null, "Role": null, "Parent": null});
    assert_eq!(serde_json::from_value::<User>(nulls).unwrap(), zero);
    let numbers = serde_json::from_value::<User>(json!({"Avatar": [1, 255]})).unwrap();
    assert_eq!(numbers.avatar, [1, 255]);
    assert!(serde_json::from_value::<User>(json!({"Avatar": "?"})).is_err());
    assert!(serde_json::from_value::<User>(json!({"Role": 9})).is_err());
}

#[test]
fn an_object_is_a_struct_whatever_the_case_of_its_names_and_a_list_is_none() {
    let point = |json| serde_json::from_value::<Point>(json);
    assert_eq!(
        point(json!({"x": 1, "Y": 2})).unwrap(),
        Point { x: 1, y: 2 }
    );
    assert_eq!(point(json!(null)).unwrap(), Point { x: 0, y: 0 });
    let error = point(json!([1, 2])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid type: sequence, expected struct Point"
    );
    let page = |json| serde_json::from_value::<Page<Point>>(json);
    let items = vec![Point { x: 1, y: 0 }, Point { x: 0, y: 0 }];
    assert_eq!(
        page(json!({"nextid": 3, "ITEMS": [{"X": 1}, null]})).unwrap(),
        Page { next_id: 3, items }
    );
    assert!(page(json!({"NextId": 3, "Items": [[1, 2]]})).is_err());
}

#[test]
fn the_other_forms_are_what_they_hold() {
    assert_eq!(
        serde_json::to_value(Blob(vec![0, 1])).unwrap(),
        json!("AAE=")
    );
    assert_eq!(
        serde_json::from_value::<Blob>(json!("AAE=")).unwrap(),
        Blob(vec![0, 1])
    );
    assert_eq!(
        serde_json::to_value([Level::None, Level::High]).unwrap(),
        json!(["", "high"])
    );
    assert_eq!(
        serde_json::from_value::<Level>(json!("high")).unwrap(),
        Level::High
    );
    assert_eq!(Schema::of::<Level>(), Schema::of::<String>());
}

#[test]
fn formats_without_names_are_not_disturbed() {
    let bytes = postcard::to_allocvec(&user()).unwrap();
    assert_eq!(postcard::from_bytes::<User>(&bytes).unwrap(), user());
}

/// Checked here as in `names` of the macros: both lists of initialisms must be the same.
#[test]
fn printed_types_have_the_names_that_the_derive_gives() {
    let schema = Schema::of::<User>();
    let rust = schema.to_rust();
    assert!(
        rust.contains("\n    user_id: u64,") && rust.contains("\n    home_url: String,"),
        "{rust}"
    );
    assert!(!rust.contains("rename"), "{rust}");
}

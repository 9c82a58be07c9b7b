//! What must hold of Portcullis whatever comes in. The fuzz targets and the replay in the tests hold it to the same.
//!
//! Each module has a `hold`, which takes any bytes and panics where the promise is broken.

pub mod admin;
pub mod body;
pub mod config;
pub mod credential;
pub mod head;
pub mod records;
mod world;

/// What holds the product to a promise with these bytes.
pub type Hold = fn(&[u8]);

/// Every target by its name, which is that of its corpus too.
pub const TARGETS: [(&str, Hold); 6] = [
    ("head", head::hold),
    ("body", body::hold),
    ("credential", credential::hold),
    ("config", config::hold),
    ("admin", admin::hold),
    ("records", records::hold),
];

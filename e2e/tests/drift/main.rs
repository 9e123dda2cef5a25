//! The documents and the manifests say what is true: every path that a page names exists, dependencies go one way, only one
//! crate speaks to each store, no code knows an entity.

#[cfg(test)]
mod containers;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod house;

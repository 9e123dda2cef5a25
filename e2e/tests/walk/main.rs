//! Pages that are followed literally: every command of a page, typed in order, prints what the page shows.
//!
//! How a page is written so that it can be followed:
//!
//! * A block ```` ```console ```` holds commands, each behind `$ ` (and goes on after a `\` at a line's end), with what it
//!   prints below. A command must succeed, in a block ```` ```console fails ```` it must fail;
//!   a block ```` ```console unfollowed ```` is for people alone.
//! * A block with a path behind its language, such as ```` ```json schemas/orders/v1.avsc ````, is a file that the reader writes.
//! * `…` in a line stands for anything, a line `…` for any lines. How much white space there is does not matter.
//! * What the system makes up is of one shape: a UUID, a version (16 digits), a time with microseconds, seconds (`4.6 s`).
//!   It may be another one than the page shows, and must be the same wherever the page shows the same one again. What the
//!   page itself has typed before is not made up.
//! * What only reads (`curl` without a body or method, `mariadb`) is typed again until it fits, for ten seconds: a row
//!   arrives a moment after its write.
//!
//! A reader has no container engine, or has typed `export STACK=processes`, as the pages say.
//!
//! A page is followed in a folder of its own, with ports of its own for those that are the usual ones: beside a running
//! `make up`. `make` is the real one with the real Makefile; only its cargo does nothing, since all is built.

#[cfg(test)]
mod compare;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod page;

#[cfg(test)]
mod pages {
    use crate::follow::Reader;

    #[test]
    fn the_readme_works_as_it_says() {
        Reader::new().unwrap().follow("README.md").unwrap();
    }

    #[test]
    fn the_api_works_as_its_page_says() {
        Reader::new().unwrap().follow("docs/API.md").unwrap();
    }

    #[test]
    fn an_entity_of_your_own_works_as_its_page_says() {
        Reader::new().unwrap().follow("docs/YOUR-OWN-ENTITY.md").unwrap();
    }
}

//! An SVG document, written shape by shape.
//!
//! The picture brings its own light ground, so that it looks the same on a light and on a dark page.

use std::fmt::Write as _;

/// What is written and drawn on the ground.
pub(crate) const INK: &str = "#1f2328";
/// What stands behind: grids and axes.
pub(crate) const FAINT: &str = "#d0d7de";
/// Texts that explain.
pub(crate) const QUIET: &str = "#57606a";
const GROUND: &str = "#ffffff";

/// Where a text stands relative to its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A picture that is being drawn.
pub(crate) struct Picture {
    body: String,
    width: f64,
    height: f64,
}

impl Picture {
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Self {
        let mut picture = Self {
            body: String::new(),
            width,
            height,
        };
        picture.element(format_args!("<title>{}</title>", escaped(title)));
        picture.element(format_args!(
            r#"<rect width="{width}" height="{height}" rx="8" fill="{GROUND}" stroke="{FAINT}"/>"#
        ));
        picture.text(20.0, 30.0, Anchor::Start, 16, INK, title);
        picture
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        let _always_fits = writeln!(self.body, "{element}");
    }

    pub(crate) fn text(
        &mut self,
        x: f64,
        y: f64,
        anchor: Anchor,
        size: u32,
        colour: &str,
        text: &str,
    ) {
        self.element(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{}" font-size="{size}" fill="{colour}">{}</text>"#,
            anchor.name(),
            escaped(text)
        ));
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        self.element(format_args!(
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}" stroke-width="{width}"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    pub(crate) fn path(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.element(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            points.join(" ")
        ));
    }

    pub(crate) fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        self.element(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#
        ));
    }

    pub(crate) fn bar(&mut self, (x, y): (f64, f64), width: f64, height: f64, colour: &str) {
        self.element(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" fill="{colour}"/>"#,
            width.max(1.0)
        ));
    }

    /// The whole document.
    pub(crate) fn finish(self) -> String {
        let Self {
            body,
            width,
            height,
        } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" role=\"img\">\n{body}</svg>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_end_their_element() {
        let mut picture = Picture::new(10.0, 10.0, "a < b & c");
        picture.text(1.0, 2.0, Anchor::End, 12, INK, "</svg>");
        let text = picture.finish();
        assert!(text.contains("a &lt; b &amp; c"));
        assert_eq!(text.matches("</svg>").count(), 1);
    }
}

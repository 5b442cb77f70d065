//! serin's own image, made by the project's Dockerfile, in the three places where it runs.

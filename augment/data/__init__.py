"""Images and identities: layouts of data sets, the rendered set, import of other ones."""

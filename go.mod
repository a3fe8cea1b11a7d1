module github.com/kumofs/kumofs

go 1.26

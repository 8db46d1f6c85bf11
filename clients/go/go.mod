module graphpipe.dev/graphpipe

go 1.21

module examples

go 1.21

require graphpipe.dev/graphpipe v0.0.0

replace graphpipe.dev/graphpipe => ../../clients/go

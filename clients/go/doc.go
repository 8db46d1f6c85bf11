// Package graphpipe asks the models of a GraphPipe server, and serves Go functions as models.
//
//	client, err := graphpipe.NewClient("http://127.0.0.1:9000")
//	scores, err := graphpipe.Infer[float32](ctx, client, graphpipe.NewTensor(pixels, 1, 3, 224, 224))
//
// A tensor is sent from the memory of the slice it was made of, which must not change until the
// call returns. An answer is received into one block of memory, and [Data] reads it where it lies.
// Everything that comes from the other side is checked before it is used.
//
// It needs the standard library only. Package compat has the functions of GraphPipe's Go library
// of 2018.
package graphpipe

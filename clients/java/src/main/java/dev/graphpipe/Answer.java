package dev.graphpipe;

import java.util.List;

/** An InferResponse: the tensors, or the error that it carries. */
final class Answer {
    final List<Tensor> tensors;
    final boolean isError;
    final long code;
    final String message;

    Answer(List<Tensor> tensors) {
        this.tensors = tensors;
        this.isError = false;
        this.code = GraphPipeException.NO_CODE;
        this.message = "";
    }

    Answer(long code, String message) {
        this.tensors = List.of();
        this.isError = true;
        this.code = code;
        this.message = message;
    }
}

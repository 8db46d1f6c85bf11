package dev.graphpipe;

import java.nio.ByteBuffer;

/** What a server answered, whatever its status. */
final class Reply {
    final Head head;
    final ByteBuffer body;
    final boolean keeps; // whether the connection can be kept

    Reply(Head head, ByteBuffer body, boolean keeps) {
        this.head = head;
        this.body = body;
        this.keeps = keeps;
    }
}

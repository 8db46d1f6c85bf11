package dev.graphpipe;

import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** A time by which something has to be done, on the clock of System.nanoTime(); or none. */
final class Deadline {
    private static final long FAR_DAYS = 10000; // beyond it nanoseconds would soon overflow

    private final boolean isNever;
    private final long at;

    private Deadline(boolean isNever, long at) {
        this.isNever = isNever;
        this.at = at;
    }

    /** null: never. */
    static Deadline after(Duration time) {
        if (time == null || time.toDays() > FAR_DAYS) {
            return new Deadline(true, 0);
        }
        return new Deadline(false, System.nanoTime() + time.toNanos());
    }

    /** This one, or one that is nearer. */
    Deadline atMost(Duration time) {
        Deadline near = after(time);
        return isNever || at - near.at > 0 ? near : this;
    }

    boolean isNever() {
        return isNever;
    }

    boolean isOver() {
        return !isNever && at - System.nanoTime() <= 0;
    }

    /** Rounded up, at least 1; for ever: Long.MAX_VALUE. */
    long leftMillis() {
        if (isNever) {
            return Long.MAX_VALUE;
        }
        return Math.max(1, TimeUnit.NANOSECONDS.toMillis(at - System.nanoTime() + 999_999));
    }
}

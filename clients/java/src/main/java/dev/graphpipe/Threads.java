package dev.graphpipe;

import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/** What runs in threads of its own. */
final class Threads {
    private Threads() {
    }

    static Thread daemon(Runnable task) {
        Thread thread = new Thread(task, "graphpipe");
        thread.setDaemon(true);
        return thread;
    }

    /**
     * The result of a task that may take as long as it likes; a TimeoutException if that is too
     * long.
     */
    static <T> T within(Deadline deadline, Callable<T> task) throws Exception {
        FutureTask<T> future = new FutureTask<>(task);
        daemon(future).start();
        try {
            return future.get(deadline.leftMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException e) {
            throw e.getCause() instanceof Exception ? (Exception) e.getCause() : e;
        }
    }

    /**
     * Runs the call by the executor. If the future is cancelled or times out, the call is ended.
     */
    static <T> CompletableFuture<T> start(Executor executor, Supplier<T> call) {
        Running<T> running = new Running<>(call);
        running.future.whenComplete((value, error) -> running.interrupt());
        try {
            executor.execute(running);
        } catch (RejectedExecutionException e) {
            throw new IllegalStateException("the client is closed, or its executor busy", e);
        }
        return running.future;
    }

    /**
     * Interrupting the thread ends a call; whatever comes after the call must not be interrupted.
     */
    private static final class Running<T> implements Runnable {
        final CompletableFuture<T> future = new CompletableFuture<>();
        private final Supplier<T> call;
        private Thread thread; // that runs the call now

        Running(Supplier<T> call) {
            this.call = call;
        }

        @Override
        public void run() {
            synchronized (this) {
                if (future.isDone()) {
                    return;
                }
                thread = Thread.currentThread();
            }
            T value = null;
            Throwable error = null;
            try {
                value = call.get();
            } catch (Throwable e) { // an Error too is for whoever waits
                error = e;
            }
            synchronized (this) {
                thread = null;
                if (future.isDone()) {
                    Thread.interrupted();
                }
            }
            if (error == null) {
                future.complete(value);
            } else {
                future.completeExceptionally(error);
            }
        }

        synchronized void interrupt() {
            if (thread != null) {
                thread.interrupt();
            }
        }
    }
}

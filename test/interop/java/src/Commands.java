/** What the worker was told to do from now on, by lines on its standard input. */
final class Commands {
  /** Prepared, and left uncommitted: what a worker leaves that dies between the two. */
  private volatile boolean onlyPrepare = false;

  void accept(String command) {
    if (!command.equals("prepare")) throw new IllegalArgumentException("expected prepare or stop, got " + command);
    onlyPrepare = true;
    Events.print("preparing");
  }

  boolean onlyPrepare() {
    return onlyPrepare;
  }
}

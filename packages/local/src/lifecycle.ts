export type Status = 'CREATING' | 'ACTIVE' | 'UPDATING' | 'DELETING'

/**
 * The status of a stream or a consumer. A change takes its time and is completed when next somebody looks after that
 * time: nothing happens by itself.
 */
export class Lifecycle {
  #status: Status = 'ACTIVE'
  #dueMs = Number.POSITIVE_INFINITY
  #complete: (lateMs: number) => void = () => {}

  get status(): Status {
    return this.#status
  }

  /** Whether records can be put and got. */
  get isServing(): boolean {
    return this.#status === 'ACTIVE' || this.#status === 'UPDATING'
  }

  get #isChanging(): boolean {
    return this.#dueMs < Number.POSITIVE_INFINITY
  }

  /** When the change that is under way ends. */
  get dueMs(): number {
    return this.#dueMs
  }

  /** @param complete is told how long ago the change should have been completed */
  begin(status: Status, dueMs: number, nowMs: number, complete: (lateMs: number) => void = () => {}): void {
    this.#status = status
    this.#dueMs = dueMs
    this.#complete = complete
    this.settle(nowMs)
  }

  settle(nowMs: number): void {
    if (nowMs < this.#dueMs || !this.#isChanging) return
    const lateMs = nowMs - this.#dueMs
    this.#status = 'ACTIVE'
    this.#dueMs = Number.POSITIVE_INFINITY
    this.#complete(lateMs)
  }
}

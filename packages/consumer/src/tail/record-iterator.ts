/** Where a {@link RecordIterator} gets from. */
export interface RecordSource<T> {
  /** Begins; called once, when the first record is asked for. @param onChange to be called when there may be more, or the end */
  start(onChange: () => void): void
  /** The next one; undefined if there is none now. @throws what ends the iteration, in the place where it belongs */
  take(): T | undefined
  /** Nothing will come any more. */
  readonly isOver: boolean
  /** Releases everything. Never rejects; may be called again. */
  close(): Promise<void>
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

/**
 * Gives out what a source has, one at a time and on demand. Several `next()` may be pending: they are served in the order in
 * which they were called. Ends with the source, with what it throws, or when it is left: then everything has been released
 * before the last answer.
 */
export class RecordIterator<T> implements AsyncIterableIterator<T, undefined>, AsyncDisposable {
  readonly #source: RecordSource<T>
  #waiting: PromiseWithResolvers<IteratorResult<T, undefined>>[] = []
  #isStarted = false
  /** Settled when everything has been released; undefined until the end. */
  #closed: Promise<void> | undefined

  constructor(source: RecordSource<T>) {
    this.#source = source
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const waiter = Promise.withResolvers<IteratorResult<T, undefined>>()
    this.#waiting.push(waiter)
    if (!this.#isStarted && this.#closed === undefined) {
      this.#isStarted = true
      this.#source.start(() => this.#serve())
    }
    this.#serve()
    return waiter.promise
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.#end()
    return DONE
  }

  async throw(error: unknown): Promise<IteratorReturnResult<undefined>> {
    await this.#end()
    throw error
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end()
  }

  #serve(): void {
    while (this.#waiting.length > 0 && this.#closed === undefined) {
      let record: T | undefined
      try {
        record = this.#source.take()
      } catch (error) {
        const waiter = this.#waiting.shift()!
        void this.#end().then(() => waiter.reject(error))
        return
      }
      if (record !== undefined) this.#waiting.shift()!.resolve({ done: false, value: record })
      else if (this.#source.isOver) break
      else return
    }
    if (this.#closed !== undefined || this.#source.isOver) void this.#end()
  }

  /** Releases everything, then answers whoever waits. */
  #end(): Promise<void> {
    this.#closed ??= this.#source.close()
    const waiting = this.#waiting
    this.#waiting = []
    return this.#closed.then(() => {
      for (const waiter of waiting) waiter.resolve(DONE)
    })
  }
}

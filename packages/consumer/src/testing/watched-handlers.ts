import type { ConsumerRecord } from '../processing/consumer-record.ts'
import type { HandlerContext } from '../processing/handlers.ts'
import type { Handlers } from '../run-options.ts'

/** One call of the handler. */
export interface Delivery<Value = undefined> {
  /** What it was called with: one record, or a batch. */
  readonly records: readonly ConsumerRecord<Value>[]
  /** Which attempt, from 1. */
  readonly attempt: number
  /** When, by the test's clock, in milliseconds since the test began. */
  readonly atMs: number
  /** Which worker it was, from 1: each `start` makes another. */
  readonly worker: number
  readonly signal: AbortSignal
  /** `crashed`: its worker was, before the handler had settled. */
  readonly state: 'running' | 'finished' | 'failed' | 'crashed'
  /** What it failed with. */
  readonly error: unknown
}

/** Which records are meant: those with this partition key, or those for which the function says so. */
export type RecordChoice<Value = undefined> = string | ((record: ConsumerRecord<Value>) => boolean)

/** What is to happen instead of the handler's call, or before it. */
interface Fault<Value> {
  readonly choice: RecordChoice<Value>
  left: number
  readonly act: () => unknown
}

interface Call<Value> {
  readonly delivery: { -readonly [Name in keyof Delivery<Value>]: Delivery<Value>[Name] }
  readonly isDead: () => boolean
}

/** The handler of a test: notes each call, and makes some fail or hang when it is told to. */
export class WatchedHandlers<Value> {
  readonly deliveries: Delivery<Value>[] = []
  readonly #handlers: Handlers<Value>
  readonly #nowMs: () => number
  readonly #faults: Fault<Value>[] = []
  readonly #calls = new Set<Call<Value>>()

  constructor(handlers: Handlers<Value>, nowMs: () => number) {
    this.#handlers = handlers
    this.#nowMs = nowMs
  }

  add(choice: RecordChoice<Value>, times: number, act: () => unknown): void {
    this.#faults.push({ choice, left: times, act })
  }

  /** The handlers of one worker. */
  of(worker: number, isDead: () => boolean): Handlers<Value> {
    const { eachRecord, eachBatch } = this.#handlers
    if (eachBatch !== undefined) {
      const watched = (records: ConsumerRecord<Value>[], context: HandlerContext): unknown =>
        this.#call([...records], context, worker, isDead, () => eachBatch(records, context))
      return { ...this.#handlers, eachBatch: named(watched, eachBatch) } as Handlers<Value>
    }
    const watched = (record: ConsumerRecord<Value>, context: HandlerContext): unknown =>
      this.#call([record], context, worker, isDead, () => eachRecord!(record, context))
    return { ...this.#handlers, eachRecord: named(watched, eachRecord!) } as Handlers<Value>
  }

  /** The workers that are dead by now get no further. */
  crashed(): void {
    for (const call of this.#calls) if (call.isDead()) this.#settle(call, 'crashed')
  }

  #call(
    records: readonly ConsumerRecord<Value>[],
    { attempt, signal }: HandlerContext,
    worker: number,
    isDead: () => boolean,
    handle: () => unknown,
  ): unknown {
    if (isDead()) return new Promise(() => {})
    const delivery = {
      records,
      attempt,
      atMs: this.#nowMs(),
      worker,
      signal,
      state: 'running' as const,
      error: undefined,
    }
    const call: Call<Value> = { delivery, isDead }
    this.deliveries.push(delivery)
    this.#calls.add(call)
    let result: unknown
    try {
      const fault = this.#faultOf(records)
      const before = fault?.act()
      // What hung when its worker crashed hangs for ever.
      result = isPromiseLike(before) ? before.then(() => (isDead() ? new Promise(() => {}) : handle())) : handle()
    } catch (error) {
      this.#settle(call, 'failed', error)
      throw error
    }
    if (!isPromiseLike(result)) {
      this.#settle(call, 'finished')
      return result
    }
    return result.then(
      () => this.#settle(call, 'finished'),
      (error: unknown) => {
        this.#settle(call, 'failed', error)
        throw error
      },
    )
  }

  #settle(call: Call<Value>, state: Delivery['state'], error?: unknown): void {
    if (!this.#calls.delete(call)) return
    call.delivery.state = state
    call.delivery.error = error
  }

  #faultOf(records: readonly ConsumerRecord<Value>[]): Fault<Value> | undefined {
    const isMeant = ({ choice }: Fault<Value>): boolean =>
      records.some((record) => (typeof choice === 'string' ? record.partitionKey === choice : choice(record)))
    const fault = this.#faults.find((each) => each.left > 0 && isMeant(each))
    if (fault !== undefined) fault.left--
    return fault
  }
}

/** Events call a handler by its name. */
function named<Func extends object>(func: Func, { name }: { readonly name: string }): Func {
  return Object.defineProperty(func, 'name', { value: name })
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof Object(value).then === 'function'
}

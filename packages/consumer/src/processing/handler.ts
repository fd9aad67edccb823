import { type Decoder, decoderOf, type TraceContext } from '@shardwise/core'
import type { Attempt } from './attempt.ts'
import { type ConsumerRecord, setValue } from './consumer-record.ts'
import type { EachBatch, EachRecord } from './handlers.ts'
import type { Work } from './work.ts'

/** What is called with a work: one of the two kinds of handlers. */
export interface Handler {
  /** For people: the kind of handler, and the function's own name. */
  readonly name: string
  /**
   * Done when it returns, or when its promise resolves. Rejects with {@link NOT_CALLED} if what had to be awaited before took so long that the
   * attempt is over, or `mayCall` no longer holds.
   */
  readonly call: (work: Work, context: Attempt, mayCall: () => boolean) => unknown
  /** The span that a record's data was put in, where the codec tells. */
  readonly contextOf?: ((data: Uint8Array) => TraceContext | undefined) | undefined
}

/** The attempt was none: the handler wasn't called, because it no longer may be. */
export const NOT_CALLED: unique symbol = Symbol('not called')

/** Makes a value of a record's data, now or later. */
type Decode = (data: Uint8Array) => unknown

/** The handler that `run` was given, after what decodes the records' values. */
export function handlerOf<Value>(
  {
    eachRecord,
    eachBatch,
  }: { readonly eachRecord?: EachRecord<Value> | undefined; readonly eachBatch?: EachBatch<Value> | undefined },
  codec: Decoder<Value> | undefined,
): Handler {
  const decode = codec === undefined ? undefined : decoderOf(codec)
  // A record's value is what the codec makes of it, or undefined.
  const handler =
    eachBatch === undefined
      ? eachRecordHandler(eachRecord as EachRecord, decode)
      : eachBatchHandler(eachBatch as EachBatch, decode)
  if (codec?.['~standard'] !== undefined || codec?.contextOf === undefined) return handler
  return { ...handler, contextOf: (data) => codec.contextOf!(data) }
}

/** A handler of records, each with its value if there is something to decode it with. */
function eachRecordHandler(eachRecord: EachRecord, decode?: Decode): Handler {
  const name = nameOf('eachRecord', eachRecord)
  if (decode === undefined) return { name, call: ({ record }, context) => eachRecord(record, context) }
  return {
    name,
    call: ({ record }, context, mayCall) => {
      const value = decode(record.data)
      const give = (decoded: unknown): unknown => {
        setValue(record, decoded)
        return eachRecord(record, context)
      }
      return isPromiseLike(value) ? whenDecoded(value, context, mayCall, give) : give(value)
    },
  }
}

/** A handler of batches. Each attempt gets an array of its own, which it may change. */
function eachBatchHandler(eachBatch: EachBatch, decode?: Decode): Handler {
  const name = nameOf('eachBatch', eachBatch)
  if (decode === undefined) return { name, call: (work, context) => eachBatch([...recordsOf(work)], context) }
  return {
    name,
    call: (work, context, mayCall) => {
      const records = [...recordsOf(work)]
      const values = decodeAll(records, decode)
      const give = (decoded: readonly unknown[]): unknown => {
        for (const [index, record] of records.entries()) setValue(record, decoded[index])
        return eachBatch(records, context)
      }
      return values.some(isPromiseLike) ? whenDecoded(Promise.all(values), context, mayCall, give) : give(values)
    },
  }
}

/** The user records of a work. */
export function recordsOf({ batch, record }: Work): readonly ConsumerRecord[] {
  return batch ?? [record]
}

async function whenDecoded<T>(
  value: PromiseLike<T>,
  context: Attempt,
  mayCall: () => boolean,
  give: (decoded: T) => unknown,
): Promise<void> {
  const decoded = await value
  // The attempt may have been given up meanwhile, or the lease lost.
  if (context.isOver || !mayCall()) throw NOT_CALLED
  await give(decoded)
}

function decodeAll(records: readonly ConsumerRecord[], decode: Decode): unknown[] {
  const values: unknown[] = []
  try {
    for (const { data } of records) values.push(decode(data))
  } catch (error) {
    // Of the others may come promises, whose rejection somebody has to take.
    void Promise.allSettled(values)
    throw error
  }
  return values
}

/** Whether it has to be waited for. @throws what a getter of it throws */
export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return (
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    'then' in value &&
    typeof value.then === 'function'
  )
}

function nameOf(kind: string, { name }: { readonly name: string }): string {
  return name === '' || name === kind ? kind : `${kind} ${name}`
}

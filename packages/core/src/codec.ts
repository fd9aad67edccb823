import type { StandardSchemaV1 } from '@standard-schema/spec'
import { ShardwiseError, type ShardwiseErrorOptions } from './errors.ts'
import type { OptionCheck } from './options.ts'

/**
 * How values become the data of records, and data values again. A plain object, so that one wraps another: compression
 * and encryption are codecs around a codec.
 *
 * @example
 * const gzipped = <Value>(inner: Codec<Value>): Codec<Value> => ({
 *   encode: (value) => gzipSync(inner.encode(value)),
 *   decode: (data) => inner.decode(gunzipSync(data)),
 * })
 */
export interface Codec<Value> {
  /** Bytes, or a string that is written as UTF-8. What it throws, the `put` is rejected with. */
  encode(value: Value): Uint8Array | string
  decode(data: Uint8Array): Value
}

/** What a producer takes for typed values: one half of a codec, or a Standard Schema (zod, valibot, arktype, …). */
export type Encoder<Value> = EncodingHalf<Value> | StandardSchemaV1<Value, unknown>

/** Schemas of zod 4 have an `encode` too, that does something else. */
type EncodingHalf<Value> = Pick<Codec<Value>, 'encode'> & { readonly '~standard'?: never }

/**
 * What a consumer takes for typed values: the other half of a codec, which may be asynchronous there, or a Standard Schema that
 * the data fits as parsed JSON.
 */
export type Decoder<Value> = DecodingHalf<Value> | StandardSchemaV1<unknown, Value>

/** Schemas of zod 4 have a `decode` too, that does something else. */
interface DecodingHalf<Value> {
  /**
   * Makes a value of a record's data. What it throws, and a {@link CodecError} that it rejects with, stands: the record isn't decoded again.
   * Other rejections may pass, since it waits for something: the record is tried again.
   */
  decode(data: Uint8Array): Value | PromiseLike<Value>
  /** The span that the data was put in, if the codec carries it: what handles the record links to it. */
  contextOf?(data: Uint8Array): TraceContext | undefined
  readonly '~standard'?: never
}

/** Which span something belongs to, as W3C Trace Context names it. */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits. */
  readonly spanId: string
  /** 1: it is sampled. */
  readonly traceFlags: number
}

export interface CodecErrorOptions extends ShardwiseErrorOptions {
  readonly issues?: readonly StandardSchemaV1.Issue[]
}

/** Why a value can't be the data of a record, or the data of a record no value. */
export class CodecError extends ShardwiseError<'ERR_CODEC'> {
  override readonly name = 'CodecError'
  /** What the schema found; empty if it wasn't the schema that refused. */
  readonly issues: readonly StandardSchemaV1.Issue[]

  constructor(message: string, options: CodecErrorOptions = {}) {
    super('ERR_CODEC', message, options)
    this.issues = options.issues ?? []
  }
}

/** The check of an option that takes an {@link Encoder}. A schema may be a function, as those of arktype are. */
export const encoder: OptionCheck = (value) => {
  const { '~standard': standard, encode } = Object(value) as { '~standard'?: unknown; encode?: unknown }
  const isEncoder = typeof standard === 'object' ? standard !== null : typeof encode === 'function'
  return isEncoder ? undefined : 'a codec with encode, or a Standard Schema'
}

/**
 * A function that makes data of a value.
 *
 * With a Standard Schema the data is the value **as given**, in JSON: the schema's input, because the reader parses it with
 * the same schema, and a transformation must not happen twice. What is validated is what that reader will see, the
 * value after its way through JSON: so `z.date()` is refused, whose dates would arrive as strings that it doesn't take, and
 * `z.coerce.date()` isn't.
 *
 * @returns throws a {@link CodecError} for a value that the schema refuses (with every issue), that JSON can't hold, or for which
 *   the codec gives neither bytes nor a string. It is synchronous, because the order of the puts is.
 *
 * @example
 * const encode = encoderOf(z.object({ delay: z.number() }))
 * encode({ delay: 3 }) // '{"delay":3}'
 */
export function encoderOf<Value>(codec: Encoder<Value>): (value: Value) => Uint8Array | string {
  const standard = codec['~standard']
  if (standard !== undefined) return (value) => toJson(standard, value)
  const half = codec as EncodingHalf<Value>
  return (value) => checkedData(half.encode(value))
}

/** The check of an option that takes a {@link Decoder}. */
export const decoder: OptionCheck = (value) => {
  const { '~standard': standard, decode, contextOf } = Object(value) as Record<string, unknown>
  const isDecoder =
    typeof standard === 'object'
      ? standard !== null
      : typeof decode === 'function' && (contextOf === undefined || typeof contextOf === 'function')
  return isDecoder ? undefined : 'a codec with decode, or a Standard Schema'
}

/**
 * A function that makes a value of data, at once or, where the codec or the schema does, as a promise.
 *
 * With a Standard Schema the data is parsed as JSON, and the value is what the schema makes of that: its output.
 *
 * @returns throws, or rejects with, a {@link CodecError} for data that isn't JSON or that the schema refuses (with every issue), and for what
 *   the codec throws. What the promise of a codec or a schema rejects with is passed on as it is.
 *
 * @example
 * const decode = decoderOf(z.object({ at: z.coerce.date() }))
 * decode(Buffer.from('{"at":"2026-01-01"}')) // { at: Date }
 */
export function decoderOf<Value>(codec: Decoder<Value>): (data: Uint8Array) => Value | PromiseLike<Value> {
  const standard = codec['~standard']
  if (standard !== undefined) return (data) => fromJson(standard, data)
  const half = codec as DecodingHalf<Value>
  return (data) => {
    try {
      return half.decode(data)
    } catch (cause) {
      if (isCodecError(cause)) throw cause
      throw new CodecError(`the codec can't decode the data: ${messageOf(cause)}`, { cause })
    }
  }
}

function fromJson<Value>(
  schema: StandardSchemaV1.Props<unknown, Value>,
  { buffer, byteOffset, byteLength }: Uint8Array,
): Value | Promise<Value> {
  const text = Buffer.from(buffer, byteOffset, byteLength).toString('utf8')
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    const start = JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
    throw new CodecError(`expected JSON, which the schema is for, got ${start}.`, { cause })
  }
  let result: StandardSchemaV1.Result<Value> | Promise<StandardSchemaV1.Result<Value>>
  try {
    result = schema.validate(parsed)
  } catch (cause) {
    throw new CodecError(`the schema can't judge the value: ${messageOf(cause)}`, { cause })
  }
  return isPromiseLike(result) ? Promise.resolve(result).then(outputOf) : outputOf(result)
}

function outputOf<Value>(result: StandardSchemaV1.Result<Value>): Value {
  if (result.issues) throw refusal(result.issues)
  return result.value
}

function refusal(issues: readonly StandardSchemaV1.Issue[]): CodecError {
  return new CodecError(`the value doesn't fit the schema: ${issues.map(issueText).join('; ')}.`, { issues })
}

/** Two copies of a package may be installed. */
function isCodecError(error: unknown): boolean {
  return (Object(error) as { code?: unknown }).code === 'ERR_CODEC'
}

function messageOf(error: unknown): string {
  return String((Object(error) as { message?: unknown }).message ?? error)
}

function toJson(schema: StandardSchemaV1.Props, value: unknown): string {
  const text = jsonOf(value)
  const result = schema.validate(JSON.parse(text))
  if (isPromiseLike(result)) {
    quiet(result)
    throw new CodecError(
      `expected a schema that validates synchronously, got a promise from one of ${schema.vendor}. ` +
        'Await the asynchronous checks before put, and take a schema without them.',
    )
  }
  if (result.issues) throw refusal(result.issues)
  return text
}

function jsonOf(value: unknown): string {
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw new CodecError(`the value can't be written as JSON: ${(cause as Error).message}`, { cause })
  }
  if (text === undefined) throw new CodecError(`expected a value that JSON can hold, got ${typeof value}.`)
  return text
}

function issueText({ message, path = [] }: StandardSchemaV1.Issue): string {
  const keys = path.map((segment) => String(typeof segment === 'object' ? segment.key : segment))
  return keys.length === 0 ? message : `${keys.join('.')}: ${message}`
}

function checkedData(data: unknown): Uint8Array | string {
  if (typeof data === 'string' || data instanceof Uint8Array) return data
  if (isPromiseLike(data)) {
    quiet(data)
    throw new CodecError(
      "expected the codec's encode to give bytes or a string at once, got a promise. Encode before put.",
    )
  }
  throw new CodecError(`expected the codec's encode to give a Uint8Array or a string, got ${typeof data}.`)
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

/** The promise is refused as such; what becomes of it is nobody's unhandled rejection. */
function quiet(promise: PromiseLike<unknown>): void {
  promise.then(
    () => {},
    () => {},
  )
}

import { gunzipSync, gzipSync } from 'node:zlib'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type Codec, CodecError, type Decoder, decoder, decoderOf, encoder, encoderOf } from './codec.ts'

function errorOf(action: () => unknown): CodecError {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(CodecError)
    return error as CodecError
  }
  throw new Error('nothing was thrown')
}

/** A schema by hand, as small as the standard allows. */
function schema<Input>(validate: StandardSchemaV1<Input>['~standard']['validate']): StandardSchemaV1<Input> {
  return { '~standard': { version: 1, vendor: 'by-hand', validate } }
}

describe('a Standard Schema', () => {
  const flight = z.object({ delay: z.number(), tail: z.string().optional() })

  test('lets a value through that fits, as JSON', () => {
    expect(encoderOf(flight)({ delay: 3 })).toBe('{"delay":3}')
  })

  test("writes the value as given, not the schema's output: the reader parses with the same schema", () => {
    const minutes = z.object({ delay: z.string().transform(Number) })
    const text = encoderOf(minutes)({ delay: '3' })
    expect(text).toBe('{"delay":"3"}')
    expect(minutes.parse(JSON.parse(String(text)))).toEqual({ delay: 3 })
  })

  test('is taken before an encode of its own, which zod 4 has', () => {
    const departure = z.codec(z.iso.datetime(), z.date(), {
      decode: (text) => new Date(text),
      encode: (date) => date.toISOString(),
    })
    expect(encoderOf(departure)('2008-01-01T10:00:00Z')).toBe('"2008-01-01T10:00:00Z"')
  })

  test('refuses with every issue, its path and its message', () => {
    const list = z.object({ flights: z.array(flight) })
    const error = errorOf(() =>
      encoderOf(list)({ flights: [{ delay: 1 }, { delay: 'late' as never, tail: 7 as never }] }),
    )
    expect(error.message).toBe(
      "the value doesn't fit the schema: flights.1.delay: Invalid input: expected number, received string; " +
        'flights.1.tail: Invalid input: expected string, received number.',
    )
    expect(error.issues.map(({ path }) => path)).toEqual([
      ['flights', 1, 'delay'],
      ['flights', 1, 'tail'],
    ])
  })

  test('takes paths of segments and issues without a path', () => {
    const refusing = schema<number>(() => ({
      issues: [{ message: 'too odd' }, { message: 'bad', path: [{ key: 'a' }, 0] }],
    }))
    expect(errorOf(() => encoderOf(refusing)(3)).message).toBe("the value doesn't fit the schema: too odd; a.0: bad.")
  })

  test('judges what the reader will see: a date that JSON makes a string of is refused unless the schema reads strings', () => {
    const at = new Date(0)
    expect(errorOf(() => encoderOf(z.object({ at: z.date() }))({ at })).message).toContain(
      'at: Invalid input: expected date',
    )
    expect(encoderOf(z.object({ at: z.coerce.date<Date>() }))({ at })).toBe('{"at":"1970-01-01T00:00:00.000Z"}')
  })

  test('that validates asynchronously is refused, and its promise left alone', async () => {
    const unhandled: unknown[] = []
    const onUnhandled = (reason: unknown): number => unhandled.push(reason)
    process.on('unhandledRejection', onUnhandled)
    try {
      const slow = schema<number>(() => Promise.reject(new Error('nobody waits for this')))
      expect(errorOf(() => encoderOf(slow)(3)).message).toContain('synchronously, got a promise from one of by-hand')
      await new Promise((resolve) => setImmediate(resolve))
      expect(unhandled).toEqual([])
    } finally {
      process.off('unhandledRejection', onUnhandled)
    }
  })

  test('may be a function', () => {
    const callable = Object.assign(
      () => {},
      schema<number>((value) => ({ value: value as number })),
    )
    expect(encoder(callable)).toBeUndefined()
    expect(encoderOf(callable)(3)).toBe('3')
  })

  test('refuses what JSON has no text for, whatever the schema says', () => {
    const encode = encoderOf(z.any())
    expect(errorOf(() => encode(() => {})).message).toBe('expected a value that JSON can hold, got function.')
    expect(errorOf(() => encode(undefined)).message).toContain('got undefined')
    expect(errorOf(() => encode(3n)).message).toMatch(/^the value can't be written as JSON: .*BigInt/)
  })
})

describe('a codec', () => {
  test('gives bytes or a string as they are', () => {
    const bytes = Uint8Array.of(1, 2)
    expect(encoderOf({ encode: () => bytes })(0)).toBe(bytes)
    expect(encoderOf({ encode: (value: number) => `${value}` })(3)).toBe('3')
  })

  test('is called as a method', () => {
    class Prefixed {
      readonly prefix = '>'
      encode(value: string): string {
        return this.prefix + value
      }
    }
    expect(encoderOf(new Prefixed())('x')).toBe('>x')
  })

  test('that gives anything else is refused', () => {
    expect(errorOf(() => encoderOf({ encode: () => 3 as never })(0)).message).toContain(
      'a Uint8Array or a string, got number',
    )
    expect(errorOf(() => encoderOf({ encode: async () => 'x' } as never)(0)).message).toContain(
      'at once, got a promise',
    )
  })

  test('throws its own errors as they are', () => {
    const broken = new RangeError('broken')
    const encode = encoderOf({
      encode: (): string => {
        throw broken
      },
    })
    expect(() => encode(0)).toThrow(broken)
  })

  test('wraps another one', () => {
    const json: Codec<object> = {
      encode: (value) => JSON.stringify(value),
      decode: (data) => JSON.parse(Buffer.from(data).toString()),
    }
    const gzipped = <Value>(inner: Codec<Value>): Codec<Value> => ({
      encode: (value) => gzipSync(inner.encode(value)),
      decode: (data) => inner.decode(gunzipSync(data)),
    })
    const data = encoderOf(gzipped(json))({ delay: 3 })
    expect(gzipped(json).decode(data as Uint8Array)).toEqual({ delay: 3 })
  })
})

test('the option takes codecs and schemas only', () => {
  const expected = 'a codec with encode, or a Standard Schema'
  expect([{ encode: () => '' }, z.string()].map(encoder)).toEqual([undefined, undefined])
  expect([null, 3, {}, { encode: 'utf8' }, { '~standard': null }].map(encoder)).toEqual(Array(5).fill(expected))
})

test('the type of the values is inferred', () => {
  expectTypeOf(encoderOf(z.object({ delay: z.number() }))).toEqualTypeOf<
    (value: { delay: number }) => Uint8Array | string
  >()
  // Input and output differ: the caller gives the input.
  expectTypeOf(encoderOf(z.string().transform(Number)))
    .parameter(0)
    .toEqualTypeOf<string>()
  const departure = z.codec(z.iso.datetime(), z.date(), { decode: () => new Date(0), encode: () => '' })
  expectTypeOf(encoderOf(departure)).parameter(0).toEqualTypeOf<string>()
  expectTypeOf(encoderOf({ encode: (value: Date) => value.toISOString() }))
    .parameter(0)
    .toEqualTypeOf<Date>()
  expectTypeOf(encoderOf(z.object({ delay: z.number() })))
    .parameter(0)
    .not.toEqualTypeOf<{ delay: string }>()
})

const bytes = (text: string): Uint8Array => Buffer.from(text)

describe('decoding by a Standard Schema', () => {
  const flight = z.object({ at: z.coerce.date(), delay: z.number().default(0) })

  test("gives the schema's output for the data as parsed JSON", () => {
    expect(decoderOf(flight)(bytes('{"at":"2008-01-01"}'))).toEqual({ at: new Date('2008-01-01'), delay: 0 })
  })

  test('undoes what the producer wrote by the same schema', () => {
    const schema = z.object({ delay: z.string().transform(Number) })
    const data = Buffer.from(encoderOf(schema)({ delay: '3' }))
    expect(decoderOf(schema)(data)).toEqual({ delay: 3 })
  })

  test('refuses data that is no JSON, and values that do not fit, with every issue', () => {
    expect(errorOf(() => decoderOf(flight)(bytes('delay=3'))).message).toBe(
      'expected JSON, which the schema is for, got "delay=3".',
    )
    const error = errorOf(() => decoderOf(flight)(bytes('{"delay":"late"}')))
    expect(error.message).toContain('delay: Invalid input: expected number, received string')
    expect(error.issues).toHaveLength(2)
  })

  test('waits for one that judges asynchronously, and refuses the same', async () => {
    const odd = z.number().refine(async (value) => value % 2 === 1, 'not odd')
    await expect(decoderOf(odd)(bytes('3'))).resolves.toBe(3)
    await expect(decoderOf(odd)(bytes('4'))).rejects.toMatchObject({
      code: 'ERR_CODEC',
      issues: [{ message: 'not odd' }],
    })
  })

  test('refuses what makes the schema itself fail', () => {
    const broken = schema<number>(() => {
      throw new TypeError('no such key')
    })
    expect(errorOf(() => decoderOf(broken)(bytes('3'))).message).toBe("the schema can't judge the value: no such key")
  })

  test('is taken before a decode of its own, which zod 4 has', () => {
    const departure = z.codec(z.iso.datetime(), z.date(), {
      decode: (text) => new Date(text),
      encode: (date) => date.toISOString(),
    })
    expect(decoderOf(departure)(bytes('"2008-01-01T10:00:00Z"'))).toEqual(new Date('2008-01-01T10:00:00Z'))
  })
})

describe('decoding by a codec', () => {
  test('gives what it makes of the data, as it is, a promise too', async () => {
    expect(decoderOf({ decode: (data) => data.length })(bytes('four'))).toBe(4)
    await expect(decoderOf({ decode: async (data) => data.length })(bytes('four'))).resolves.toBe(4)
  })

  test('refuses what it throws, with the cause; a refusal of its own stays as it is', () => {
    const cause = new RangeError('truncated')
    const error = errorOf(() =>
      decoderOf({
        decode: () => {
          throw cause
        },
      })(bytes('')),
    )
    expect([error.message, error.cause]).toEqual(["the codec can't decode the data: truncated", cause])
    const own = new CodecError('wrong version')
    const refuse = decoderOf({
      decode: () => {
        throw own
      },
    })
    expect(errorOf(() => refuse(bytes('')))).toBe(own)
  })

  test('passes on what its promise rejects with: it may not be about the data', async () => {
    const down = new Error('the key service is down')
    await expect(decoderOf({ decode: () => Promise.reject(down) })(bytes(''))).rejects.toBe(down)
  })

  test('keeps its this', () => {
    class Offset {
      readonly by = 3
      decode(data: Uint8Array): number {
        return data.length + this.by
      }
    }
    expect(decoderOf(new Offset())(bytes('four'))).toBe(7)
  })
})

test('the option takes codecs with decode and schemas, and nothing else', () => {
  const codecs = [
    { decode: () => 1 },
    { decode: () => 1, contextOf: () => undefined },
    z.string(),
    schema(() => ({ value: 1 })),
  ]
  expect(codecs.map(decoder)).toEqual(codecs.map(() => undefined))
  const others = [undefined, null, 'utf8', {}, { encode: () => '' }, { decode: () => 1, contextOf: 'traceparent' }]
  expect(others.map(decoder)).toEqual(others.map(() => 'a codec with decode, or a Standard Schema'))
})

test('the type of the value is the output of the schema, or what the codec decodes', () => {
  const of = <Value>(codec: Decoder<Value>): Value => codec as never
  expectTypeOf(of(z.object({ at: z.coerce.date() }))).toEqualTypeOf<{ at: Date }>()
  expectTypeOf(of({ decode: async (data: Uint8Array) => data.length })).toEqualTypeOf<number>()
  expectTypeOf(of({ decode: (data: Uint8Array) => String(data) })).toEqualTypeOf<string>()
})

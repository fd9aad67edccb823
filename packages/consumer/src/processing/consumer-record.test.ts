import { expect, test } from 'vitest'
import { ConsumerRecord, setValue } from './consumer-record.ts'

const record = (data: Uint8Array): ConsumerRecord =>
  new ConsumerRecord(
    { stream: 'flights', shardId: 's', sequenceNumber: '7', arrivedAt: undefined },
    'key',
    undefined,
    data,
    2,
    false,
  )

test('text and JSON are read from the record alone, not from the bytes around it', () => {
  const bytes = Buffer.from('xx{"city":"Zürich"}yy')
  const view = record(bytes.subarray(2, -2))
  expect(view.text()).toBe('{"city":"Zürich"}')
  expect(view.json<{ city: string }>().city).toBe('Zürich')
})

test('what is not JSON says where it is and what came', () => {
  expect(() => record(Buffer.from('hello')).json()).toThrow(
    expect.objectContaining({
      code: 'ERR_JSON',
      shardId: 's',
      message: expect.stringContaining('Expected JSON in the record at s 7:2, got "hello"'),
    }),
  )
})

test('has no value until it is given one', () => {
  const source = { stream: 'flights', shardId: 's', sequenceNumber: '1', arrivedAt: undefined }
  const record = new ConsumerRecord<{ delay: number }>(source, 'a', undefined, Buffer.from('x'), 0, false)
  expect(record.value).toBeUndefined()
  setValue(record, { delay: 3 })
  expect(record.value.delay).toBe(3)
})

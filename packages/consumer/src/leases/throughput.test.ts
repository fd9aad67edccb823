import { expect, test } from 'vitest'
import { Throughput } from './throughput.ts'

test('the rate follows what was read since the last renewal, by half each time', () => {
  const throughput = new Throughput(1_000)
  expect(throughput.at(2_000, 102_400)).toBe(50)
  expect(throughput.at(3_000, 204_800)).toBe(75)
  expect(throughput.at(13_000, 204_800)).toBe(37.5)
})

test('renewals less than a second apart count once', () => {
  const throughput = new Throughput(0)
  expect(throughput.at(5, 2 ** 20)).toBe(0)
  expect(throughput.at(1_000, 2_048)).toBe(1)
  expect(throughput.at(1_000, 4_096)).toBe(1)
  expect(throughput.at(1_999, 4_096)).toBe(1)
  expect(throughput.at(2_000, 4_096)).toBe(1.5)
})

/** Random numbers from a seed (sfc32, of PractRand): the same seed gives the same numbers on every machine. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed >>> 0;
    this.#b = Math.floor(seed / 2 ** 32) >>> 0;
    this.#c = 0x9e3779b9;
    for (let round = 0; round < 15; round += 1) this.#next32();
  }

  /** In [0, 1). */
  next(): number {
    return this.#next32() / 2 ** 32;
  }

  /** A whole number from 0 to below `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  /** A number from `min` to below `max`. */
  between(min: number, max: number): number {
    return min + this.next() * (max - min);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const index = this.below(list.length);
    if (index >= list.length) throw new RangeError("nothing to pick from");
    return list[index] as T;
  }

  /** Exponentially distributed: short mostly, long now and then. */
  around(mean: number): number {
    return -mean * Math.log(1 - this.next());
  }

  /** Another generator, so that its user's numbers do not depend on how many others take. */
  fork(): Random {
    return new Random(this.#next32() + this.below(2 ** 20) * 2 ** 32);
  }

  #next32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }
}

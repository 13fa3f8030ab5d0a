// An intrusive doubly linked list: members carry the hook, so linking allocates nothing and unlinking is
// O(1). An element may sit in several lists through several hooks; a hook unlinks nothing on destruction but
// CHECKs that it is unlinked.
#pragma once

#include <cstddef>

#include "core/check.h"

namespace sidecar {

struct ListHook {
  void* owner = nullptr;  // the list it is in, null: in none
  void* previous = nullptr;
  void* next = nullptr;
  [[nodiscard]] bool linked() const { return owner != nullptr; }
  ListHook() = default;
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() { CHECK(!linked()); }
};

template <class T, ListHook T::* Hook>
class List {
 public:
  List() = default;
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() { CHECK(empty()); }

  [[nodiscard]] bool empty() const { return head_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T* front() const { return head_; }
  static T* next(const T* element) { return static_cast<T*>((element->*Hook).next); }
  // The list that the element is in, or nullptr.
  static List* of(const T* element) { return static_cast<List*>((element->*Hook).owner); }
  [[nodiscard]] bool contains(const T* element) const { return (element->*Hook).owner == this; }

  void push_back(T* element) { insert(element, tail_); }
  void push_front(T* element) { insert(element, nullptr); }

  void remove(T* element) {
    ListHook& hook = element->*Hook;
    CHECK(hook.owner == this);
    T* const before = static_cast<T*>(hook.previous);
    T* const after = static_cast<T*>(hook.next);
    if (before != nullptr)
      (before->*Hook).next = after;
    else
      head_ = after;
    if (after != nullptr)
      (after->*Hook).previous = before;
    else
      tail_ = before;
    hook.owner = hook.previous = hook.next = nullptr;
    --size_;
  }

  T* pop_front() {
    T* const element = head_;
    if (element != nullptr) remove(element);
    return element;
  }

 private:
  void insert(T* element, T* before) {
    ListHook& hook = element->*Hook;
    CHECK(!hook.linked());
    T* const after = before != nullptr ? next(before) : head_;
    hook.owner = this;
    hook.previous = before;
    hook.next = after;
    if (before != nullptr)
      (before->*Hook).next = element;
    else
      head_ = element;
    if (after != nullptr)
      (after->*Hook).previous = element;
    else
      tail_ = element;
    ++size_;
  }

  T* head_ = nullptr;
  T* tail_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace sidecar
